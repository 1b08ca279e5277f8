/**
 * Takes back what was done so far unless the whole succeeded. Steps are undone in reverse; one that fails does not
 * keep the others from being undone.
 *
 *     await using undo = new Undo();
 *     await open(); undo.add(close);
 *     undo.keep();
 */
export class Undo implements AsyncDisposable {
  #steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.#steps.push(step);
  }

  keep(): void {
    this.#steps = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const step of this.#steps.reverse()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    this.#steps = [];
    if (failures.length > 0) throw new AggregateError(failures, 'could not be undone');
  }
}
