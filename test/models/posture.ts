/** What is asked of `posture/posture.pml`: scenes that must hold, and the same with a part of the engine's care left out. */
import type { Change } from './mutant.ts';

export interface PostureCase {
  readonly what: string;
  /** Who takes part; a number says how often at most. */
  readonly scene: readonly string[];
  readonly changes: readonly Change[];
  readonly holds: boolean;
}

const WORDS = ['WORDS=3'];
const ASIDE = ['WORDS=3', 'ASIDES=1'];
const FAILING = ['WORDS=2', 'FAILURES=2'];
const HANGING = ['WORDS=2', 'HANGS=1'];
const CRASH = ['WORDS=2', 'ASIDES=1', 'CRASH'];

const holds = (what: string, scene: readonly string[]): PostureCase => ({ what, scene, changes: [], holds: true });
const fails = (what: string, scene: readonly string[], ...changes: Change[]): PostureCase => ({
  what,
  scene,
  changes,
  holds: false,
});

const TIGHTENING = `		intent(level, to);
		take(page, to);
`;

export const POSTURE: readonly PostureCase[] = [
  holds('two sources that speak three times, at any moment', WORDS),
  holds('a source set aside between its words', ASIDE),
  holds('steps that fail, and are taken again', FAILING),
  holds('a step that hangs, and wakes at any time later', HANGING),
  holds('crash and restart at any moment', CRASH),
  fails('admission reads a tightening before the kernel has it', WORDS, {
    from: TIGHTENING,
    to: TIGHTENING.replace('take(page', 'publish(to);\n		take(page'),
  }),
  fails('the kernel is opened before admission', WORDS, {
    from: '		publish(to);\n		take(sessions, to);\n',
    to: '		takeMap(to);\n		publish(to);\n		take(sessions, to);\n',
  }),
  fails(
    'what is said at the end of a change is followed by nobody',
    WORDS,
    {
      from: ':: to == level && !restless -> following = false; goto end_rest',
      to: ':: to == level && !restless -> goto end_late',
    },
    { from: 'end_rest:\n', to: 'end_late:\n\tfollowing = false;\nend_rest:\n' },
  ),
  fails('a set-aside silences the next word too', ASIDE, {
    from: 'said[i] = next; number[i]++; counted[i] = true;',
    to: 'said[i] = next; number[i]++;',
  }),
  fails('a step that failed is not taken again', FAILING, {
    from: 'failures++; restless = true',
    to: 'failures++',
  }),
  fails('no intent before the first step', CRASH, {
    from: TIGHTENING,
    to: TIGHTENING.replace('intent(level, to);\n', 'skip;\n'),
  }),
  fails(
    'the intent comes behind the first steps',
    CRASH,
    {
      from: TIGHTENING,
      to: TIGHTENING.replace('		intent(level, to);\n', ''),
    },
    {
      from: 'if :: !broken -> publish(to); take(sessions, to)',
      to: 'if :: !broken -> intent(level, to); publish(to); take(sessions, to)',
    },
  ),
  fails('a change that was broken off is not followed by one that takes all steps', WORDS, {
    from: ':: else -> restless = true\n',
    to: ':: else\n',
  }),
  fails('an intent is forgotten when its change is settled, though the word it follows may not be kept yet', CRASH, {
    from: '		settled = true\n',
    to: '		settled = true; promised = false\n',
  }),
  fails('a step that wakes after its deadline is left as it is', HANGING, {
    from: '		mapFailed = true;\n		restless = true;\n		wake()\n',
    to: '		mapFailed = true\n',
  }),
  fails('a restart takes what was kept and not what was under way', CRASH, {
    from: ':: promised && promiseNumber[i] > keptNumber[i] ->',
    to: ':: false ->',
  }),
];
