/** The shape of the demo: steps that are told in one line each and proved, or failed with the reason why. */

export interface Step<World> {
  readonly name: string;
  /** Resolves with what was seen; rejects when it was not. */
  run(world: World): Promise<string>;
}

export type Line =
  | { readonly step: string; readonly ok: boolean; readonly ms: number; readonly detail: string }
  | { readonly demo: 'ok' | 'failed'; readonly passed: number; readonly failed: number };

export type Teller = (line: Line) => void;

/** One JSON object a line: a contract with outside checks. */
export const tellJson: Teller = (line) => console.log(JSON.stringify(line));

export const tellPlainly: Teller = (line) => {
  if ('demo' in line) {
    const { demo, passed, failed } = line;
    console.log(
      `\n${demo === 'ok' ? 'All of it was seen' : 'Not all of it was seen'}: ${passed} ok, ${failed} failed.`,
    );
    return;
  }
  const { step, ok, ms, detail } = line;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${`${(ms / 1000).toFixed(1)} s`.padStart(7)}  ${step}: ${detail}`);
};

/** A step that fails does not keep the next ones from being tried. */
export class Narrator {
  readonly #tell: Teller;
  #passed = 0;
  #failed = 0;

  constructor(tell: Teller) {
    this.#tell = tell;
  }

  async step<World>({ name, run }: Step<World>, world: World): Promise<boolean> {
    const began = performance.now();
    const outcome = await Promise.race([run(world), tooLate()]).then(
      (detail) => ({ ok: true, detail }),
      (error: unknown) => ({ ok: false, detail: oneLine(error) }),
    );
    const { ok, detail } = outcome;
    this.#tell({ step: name, ok, ms: Math.round((performance.now() - began) * 10) / 10, detail });
    if (ok) this.#passed += 1;
    else this.#failed += 1;
    return ok;
  }

  /** The last line. True when every step was ok. */
  end(): boolean {
    const isOk = this.#failed === 0 && this.#passed > 0;
    this.#tell({ demo: isOk ? 'ok' : 'failed', passed: this.#passed, failed: this.#failed });
    return isOk;
  }
}

/** What waits for something that never comes must not keep the story from its end. */
function tooLate(): Promise<never> {
  const limit = AbortSignal.timeout(STEP_LIMIT_MS);
  return new Promise((_, reject) => {
    limit.addEventListener('abort', () => reject(new Error(`not seen within ${STEP_LIMIT_MS / 1000} s`)), {
      once: true,
    });
  });
}

const STEP_LIMIT_MS = 20_000;

function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s+/g, ' ').slice(0, 1_000);
}
