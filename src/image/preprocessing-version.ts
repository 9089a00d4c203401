/**
 * Version of everything between the bytes of a picture and the pixels that the vision program reads: decoding,
 * resampling, tiling, normalisation. Raise it with every change that could alter a single pixel of any family: locks
 * hold it. test/share/preprocessing-version.test.ts fails when pixels change and this does not.
 */
export const PREPROCESSING_VERSION = 2;
