/** The story, in its order: a later step builds on what the earlier ones left. */
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';
import { crashSteps } from './crash.ts';
import { filterSteps } from './filter.ts';
import { hostileSteps } from './hostile.ts';
import { isolationSteps } from './isolation.ts';
import { keySteps } from './keys.ts';
import { openingSteps } from './opening.ts';
import { postureSteps } from './posture.ts';

export const STEPS: readonly Step<Stage>[] = [
  ...openingSteps,
  ...filterSteps,
  ...hostileSteps,
  ...postureSteps,
  ...isolationSteps,
  ...keySteps,
  ...crashSteps,
];
