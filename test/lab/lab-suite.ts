import { afterAll, beforeAll, beforeEach, onTestFailed } from 'vitest';
import { describeWith, type Requirement } from '../support/requirements.ts';
import { createLab, type Lab, type LabOptions } from './lab.ts';

export interface LabSuiteOptions extends LabOptions {
  /** Default: both gateways run, and have a session, before the first test. */
  readonly start?: boolean;
  /** Besides what every lab needs. */
  readonly needs?: readonly Requirement[];
}

/** Tests that share one lab. What a gateway logged is shown with a test that fails. */
export function labSuite(name: string, options: LabSuiteOptions, body: (lab: () => Lab) => void): void {
  describeWith([...LAB_NEEDS, ...(options.needs ?? [])], name, () => {
    let made: Lab | undefined;
    const lab = (): Lab => {
      if (made === undefined) throw new Error('the lab does not stand');
      return made;
    };

    beforeAll(async () => {
      made = await createLab(options);
      if (options.start !== false) await startBoth(made);
    });

    beforeEach(() => {
      onTestFailed(() => {
        for (const site of [made?.a, made?.b]) console.error(site?.log.slice(-3_000) ?? '');
      });
    });

    afterAll(async () => {
      await made?.[Symbol.asyncDispose]();
    });

    body(lab);
  });
}

const LAB_NEEDS: readonly Requirement[] = [
  'root',
  'namespaces',
  'bpf',
  'bpf objects',
  'addon kernel',
  'tun',
  'wg',
  'tcpdump',
];

/** Both gateways, until their session stands. */
export async function startBoth({ a, b }: Lab): Promise<void> {
  await Promise.all([b.start(), a.start()]);
  // Whoever comes long before the other dials again ever later.
  await Promise.all([a, b].map((site) => site.gateway.line(/"msg":"session opened"/, 60_000)));
}
