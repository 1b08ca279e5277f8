/** Times a wait for something that must come; an emulated machine sets it, being ten times slower. */
const FACTOR = Number(process.env.SHELLSTREAM_PATIENCE ?? 1);

/** Of limits that measure nothing and only end a wait, in milliseconds. */
export const patient = (milliseconds: number): number => milliseconds * FACTOR;
