import type { Target } from '../../protocol/capability/index.ts';
import type { GrantBody } from '../../protocol/channel/index.ts';
import { ShellstreamError } from '../../protocol/errors.ts';
import { prefixesEqual } from '../../protocol/net/prefix.ts';
import type { Approached } from './approach.ts';

/** A responder that grants more than was asked is wrong or worse; nothing of such a grant is used. */
export function refuseWider({ request, offer }: Approached, answer: GrantBody): void {
  const asked = (target: Target): boolean =>
    request.targets.some(
      (wanted) =>
        wanted.protocol === target.protocol &&
        wanted.port === target.port &&
        prefixesEqual(wanted.prefix, target.prefix),
    );
  const wider =
    answer.mode !== offer.mode ||
    answer.capabilities.some((capability) => !request.capabilities.includes(capability)) ||
    !answer.targets.every(asked);
  if (wider) throw new ShellstreamError('UNEXPECTED_RECORD', 'the grant is wider than the request');
}
