/** Mutations of nested elements: whole elements come, go, double, move and change their kind; leaves change inside. */
import { type Material, mutateBytes } from '../engine/byte-mutations.ts';
import type { Element, Format, Grammar } from './format.ts';

export function treeFormat(grammar: Grammar): Format {
  return {
    mutate(bytes, material) {
      const elements = grammar.decode(bytes);
      if (elements === undefined || elements.length === 0) return undefined;
      mutateTree(elements, grammar, grammar.decode(material.donor) ?? [], material);
      return grammar.encode(elements);
    },
  };
}

interface Place {
  readonly list: Element[];
  readonly at: number;
  readonly element: Element;
  readonly grammar: Grammar;
}

function mutateTree(elements: Element[], grammar: Grammar, donor: Element[], material: Material): void {
  const { random } = material;
  const place = random.pick(placesIn(elements, grammar));
  if (place === undefined) return;
  const { list, at, element } = place;
  const other = random.pick(placesIn(donor, grammar))?.element;
  switch (random.below(10)) {
    case 0:
      list.splice(at, 1);
      return;
    case 1:
      for (let times = random.once(16) ? random.below(300) : 1; times > 0; times -= 1)
        list.splice(at, 0, copy(element));
      return;
    case 2:
      list.splice(at, 1);
      list.splice(random.below(list.length + 1), 0, element);
      return;
    case 3:
      if (other !== undefined) list.splice(at, 1, copy(other));
      return;
    case 4:
      if (other !== undefined) list.splice(at, 0, copy(other));
      return;
    case 5:
      element.tag = random.pick(place.grammar.tags) ?? element.tag;
      return;
    case 6:
      // An element of its own kind inside itself: depth.
      element.body = [copy(element)];
      return;
    default:
      changeLeaf(place, material);
  }
}

function changeLeaf({ element, grammar, list }: Place, material: Material): void {
  const { random } = material;
  const leaf =
    element.body instanceof Uint8Array
      ? element
      : random.pick(placesIn(list, grammar).filter((place) => place.element.body instanceof Uint8Array))?.element;
  if (leaf?.body instanceof Uint8Array) leaf.body = mutateBytes(leaf.body, material);
}

function placesIn(list: Element[], grammar: Grammar): Place[] {
  return list.flatMap((element, at) => [
    { list, at, element, grammar },
    ...(element.body instanceof Uint8Array ? [] : placesIn(element.body, element.grammar ?? grammar)),
  ]);
}

function copy(element: Element): Element {
  return { ...element, body: element.body instanceof Uint8Array ? element.body : element.body.map(copy) };
}
