/** Possible answers as token sequences, joined where they begin alike. */

/** One spelling of an option. */
export interface Candidate {
  /** Index of the option. */
  readonly option: number;
  /** At least one. */
  readonly tokens: readonly number[];
}

export interface CandidateNode {
  readonly children: ReadonlyMap<number, CandidateNode>;
  /** The option that can end here. */
  readonly ending: number | undefined;
  /** Options at and below this node. */
  readonly options: ReadonlySet<number>;
}

/**
 * Of a beginning that several options share: the texts behind whose tokens all of its options part. Those that begin alike are
 * one text as long as they do.
 *
 * @param path from the root to `node`
 */
export function partings(node: CandidateNode, path: readonly number[]): (readonly number[])[] {
  const further = [...node.children]
    .filter(([, child]) => child.options.size > 1)
    .flatMap(([token, child]) => partings(child, [...path, token]));
  return further.length > 0 ? further : [path];
}

interface GrowingNode extends CandidateNode {
  readonly children: Map<number, GrowingNode>;
  ending: number | undefined;
  readonly options: Set<number>;
}

/** A spelling that two options share belongs to the first. */
export function candidateTree(candidates: readonly Candidate[]): CandidateNode {
  const root = emptyNode();
  for (const { option, tokens } of candidates) {
    const path = [root];
    for (const token of tokens) {
      const parent = path.at(-1)!;
      const child = parent.children.get(token) ?? emptyNode();
      parent.children.set(token, child);
      path.push(child);
    }
    const last = path.at(-1)!;
    last.ending ??= option;
    if (last.ending === option) for (const node of path) node.options.add(option);
  }
  return root;
}

function emptyNode(): GrowingNode {
  return { children: new Map(), ending: undefined, options: new Set() };
}
