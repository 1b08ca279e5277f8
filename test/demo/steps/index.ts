/** The story, in its order: a later step builds on what the earlier ones left. */
import type { Stage } from '../stage.ts';
import type { Step } from '../story.ts';
import { filterSteps } from './filter.ts';
import { openingSteps } from './opening.ts';

export const STEPS: readonly Step<Stage>[] = [...openingSteps, ...filterSteps];
