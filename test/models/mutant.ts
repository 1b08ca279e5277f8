/** A model's text with some of its parts removed or changed: what a proof rests on shows when it fails without it. */

/** Every occurrence of `from` becomes `to`; one that does not occur is an error, as the mutant would be the model itself. */
export interface Change {
  readonly from: string;
  readonly to: string;
}

export function change(text: string, changes: readonly Change[]): string {
  return changes.reduce((changed, { from, to }) => {
    if (!changed.includes(from)) throw new Error(`the model does not say: ${from}`);
    return changed.replaceAll(from, to);
  }, text);
}
