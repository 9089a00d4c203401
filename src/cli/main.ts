#!/usr/bin/env node
/** Starts the command line; compiled code of earlier starts is used from the first module on. */
import { enableCompileCache } from '../util/compile-cache.js';

enableCompileCache();
void import('./entry.js').then(({ start }) => start());
