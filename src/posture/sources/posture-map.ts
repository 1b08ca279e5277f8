/**
 * Slot 0 of the posture map as a source: another program's word. The data plane obeys it at once, and our steps follow here.
 * What it said before a reboot holds until it says something again: the map itself is new then. So it is when somebody
 * removed it while no gateway ran: our own slot in it is looser than what we had made of the map's word. The word goes over
 * to a source of its own, for the next run would find in the new map what this one has made of it.
 *
 * A map that was put in its place reaches no program: its word counts through our own slot, and never for more than 2,
 * for what its writer said into the former one is not known any more.
 */
import { levelFromTrustedSource, mostRestrictive, NORMAL, type PostureLevel } from '../../../protocol/posture/index.ts';
import type { Logger } from '../../base/logger.ts';
import type { FlowTable, PosturePin } from '../../dataplane/ports.ts';
import type { PostureEngine } from '../engine.ts';

export interface MapParts {
  readonly flows: Pick<FlowTable, 'posture' | 'onExternalPosture'>;
  readonly log: Logger;
  readonly posture: Pick<PostureEngine, 'level' | 'sources' | 'state'>;
  /** Whether the kernel's own memory is what the former run left. */
  readonly isSameBoot: boolean;
}

export interface FollowedMap extends Disposable {
  /** What of its word may not be heard, or cannot be set aside, one sentence each. */
  readonly problems: readonly string[];
}

/** As the console and the record of posture name them: the map, and what was said into one that is gone. */
const MAP = 'map';
const FORMER_MAP = 'former-map';
const FOREIGN_AT_MOST: PostureLevel = 2;
const PIN_PROBLEMS: Readonly<Record<PosturePin, readonly string[]>> = {
  ours: [],
  foreign: ['posture map: another one was put in its place, which no program reads; a restart takes it up'],
  gone: ['posture map: its pin is gone and cannot be put back; what it said stands'],
};

/** Resolves when what stands in the map now has been said. */
export async function followMap({ flows, log, posture, isSameBoot }: MapParts): Promise<FollowedMap> {
  let pin: PosturePin = 'ours';
  let last: number = NORMAL;
  const held = (source = MAP) => posture.sources.find((one) => one.source === source);
  const say = async (raw: number): Promise<void> => {
    const said = levelFromTrustedSource(raw);
    if (pin !== 'foreign') return await posture.state(MAP, said, `posture map slot 0 says ${raw}`);
    await posture.state(MAP, mostRestrictive(said, FOREIGN_AT_MOST), `another posture map was put there, with ${raw}`);
  };
  /** Its writer has said something: what was said into the map before it is over. */
  const sayAnew = async (raw: number): Promise<void> => {
    await say(raw);
    if (held(FORMER_MAP)?.counts) await posture.state(FORMER_MAP, NORMAL, `posture map slot 0 says ${raw}`);
  };
  // First the watch: what is written between the two would be heard by nobody.
  const watch = flows.onExternalPosture((external) => {
    if (external.pin !== pin) log.warn('the pin of the posture map changed', { was: pin, is: external.pin });
    const isSame = pin === external.pin;
    const isNews = pin === 'ours' && isSame && last !== external.raw;
    pin = external.pin;
    last = external.raw;
    // Nobody can have said anything into a map that nobody finds.
    if (pin === 'gone' && !isSame) return;
    const said = isNews ? sayAnew(external.raw) : say(external.raw);
    said.catch((error: unknown) => log.error('posture did not follow the map', { error }));
  });
  const { external, own } = await flows.posture();
  last = external;
  const former = held();
  const isOfFormerRun = isSameBoot && former !== undefined && (!former.counts || own <= former.level);
  // Said again, it would undo that a site_owner set it aside.
  const isSaid = isOfFormerRun && former.level === levelFromTrustedSource(external);
  if (!isSaid && (external !== NORMAL || isOfFormerRun)) await sayAnew(external);
  else if (!isOfFormerRun && former?.counts === true && former.level < NORMAL) {
    // First what holds, then what would loosen.
    await posture.state(FORMER_MAP, former.level, `said into a posture map that is gone: ${former.reason}`);
    await posture.state(MAP, NORMAL, 'a new posture map says nothing');
  }
  return {
    get problems() {
      const isStuck = pin === 'ours' && held()?.counts === false && levelFromTrustedSource(last) < posture.level;
      const stuck = `posture map: slot 0 still says ${last}, and packets go by it, set aside or not, until its writer says more`;
      return isStuck ? [stuck] : PIN_PROBLEMS[pin];
    },
    [Symbol.dispose]: () => watch[Symbol.dispose](),
  };
}
