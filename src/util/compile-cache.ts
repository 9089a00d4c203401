import * as nodeModule from 'node:module';

/** Keeps compiled code between starts, for modules that load from here on, where Node can (22.1 and later). */
export function enableCompileCache(): void {
  const { enableCompileCache: enable } = nodeModule as { readonly enableCompileCache?: () => unknown };
  enable?.();
}
