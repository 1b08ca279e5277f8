/** Whether this run must not skip anything (DESIGN §9): CI is set to anything but nothing or `false`. */
export const isCi = (): boolean => !['', 'false', '0'].includes(process.env.CI ?? '');
