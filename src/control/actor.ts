/** Who asks, by the kernel's word (SO_PEERCRED), for log and evidence. */
export interface Actor {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}
