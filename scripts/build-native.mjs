// Builds the optional native parts with the plain C++ compiler (no node-gyp: its headers come from a download).
// Never fails an installation: without a compiler the TypeScript paths give identical results.
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('./native/', import.meta.url));
if (existsSync(here)) {
  for (const file of readdirSync(here)
    .filter((f) => f.endsWith('.mjs'))
    .sort()) {
    try {
      const { build } = await import(new URL(`./native/${file}`, import.meta.url).href);
      console.error(await build());
    } catch (error) {
      console.error(`native part ${file} not built: ${error instanceof Error ? error.message : error}`);
    }
  }
}
