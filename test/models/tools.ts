/** The two tools of the models, fetched where they are missing: neither is needed for anything else of the project. */
import { existsSync } from 'node:fs';
import { REPOSITORY, tool } from '../runner/child.ts';

const VERIFPAL = '1.6.7';
const ROOT = `${REPOSITORY}.cache/verifpal-${VERIFPAL}`;

/** The path of Verifpal; built with cargo the first time, about 160 s of CPU. */
export async function verifpal(): Promise<string> {
  const path = `${ROOT}/bin/verifpal`;
  if (existsSync(path)) return path;
  console.log(`   cargo install verifpal ${VERIFPAL}`);
  const args = [
    'install',
    'verifpal',
    '--version',
    VERIFPAL,
    '--locked',
    '--ignore-rust-version',
    '--root',
    ROOT,
    '-j2',
  ];
  await must('cargo', args);
  return path;
}

/** Spin and gcc, from Debian; needs root where they are missing. */
export async function spin(): Promise<void> {
  const present = await tool('sh', ['-c', 'command -v spin && command -v gcc'], { shown: false });
  if (present.code === 0) return;
  console.log('   apt-get install spin gcc');
  await must('sh', ['-c', 'apt-get update -q && apt-get install -qy --no-install-recommends spin gcc libc6-dev']);
}

async function must(command: string, args: readonly string[]): Promise<void> {
  const { code, how, output } = await tool(command, args, { shown: false });
  if (code !== 0) throw new Error(`${command}: ${how}: ${output.slice(-500)}`);
}
