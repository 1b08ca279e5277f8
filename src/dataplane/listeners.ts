/** Listeners of one source that is opened with the first of them. */
export interface Listeners<T> {
  /** Disposing twice is fine. */
  add(listener: (value: T) => void): Disposable;
  tell(value: T): void;
  clear(): void;
}

export function listeners<T>(open: (tell: (value: T) => void) => void = () => undefined): Listeners<T> {
  const present = new Set<{ readonly call: (value: T) => void }>();
  let isOpen = false;
  const tell = (value: T): void => {
    for (const { call } of [...present]) call(value);
  };
  return {
    tell,
    add(listener) {
      if (!isOpen) open(tell);
      isOpen = true;
      const entry = { call: listener };
      present.add(entry);
      return { [Symbol.dispose]: () => void present.delete(entry) };
    },
    clear: () => present.clear(),
  };
}
