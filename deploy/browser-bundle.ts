/** Makes the module that verifies a log in a browser: `browser-bundle.ts OUT`. */
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';

const INPUT = fileURLToPath(new URL('../protocol/evidence/browser.ts', import.meta.url));

export async function bundleForBrowsers(file: string): Promise<void> {
  await build({
    input: INPUT,
    // Of what Node alone has, nothing may be left out in silence.
    platform: 'browser',
    logLevel: 'warn',
    output: { file, format: 'esm', codeSplitting: false },
  });
}

const [, entry, out] = process.argv;
if (entry === fileURLToPath(import.meta.url) && out !== undefined) await bundleForBrowsers(out);
