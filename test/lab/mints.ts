import type { Entry } from '../../certs-dev/index.ts';

/** The audiences for which the Workload API is asked for a token of this entry from now on; a live list. */
export function watchMints({ identity }: Entry): readonly string[] {
  const audiences: string[] = [];
  const mint = identity.jwt.bind(identity);
  identity.jwt = (audience) => {
    audiences.push(...audience);
    return mint(audience);
  };
  return audiences;
}
