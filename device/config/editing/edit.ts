/** Changes of a configuration's text that leave the rest of it as people wrote it, comments included. */
import { isDeepStrictEqual } from 'node:util';
import { SdkError } from 'scenebus';
import { type Document, isAlias, isCollection, isMap, isScalar, isSeq, type Node, parseDocument, visit } from 'yaml';

export type PropertyPath = readonly (string | number)[];

export interface ConfigChange {
  readonly path: PropertyPath;
  /** Left out: the setting is taken away, and its default holds. */
  readonly value?: unknown;
}

/** @throws SdkError ERR_CONFIG_INVALID for a text that is no YAML, ERR_ARGUMENT_INVALID for a path that leads nowhere */
export function applyChanges(text: string, changes: readonly ConfigChange[], { isJson = false } = {}): string {
  const document = parseDocument(text, { merge: true });
  const [error] = document.errors;
  if (error !== undefined) throw new SdkError('ERR_CONFIG_INVALID', error.message.split('\n')[0] ?? 'not YAML');
  if (document.contents === null) document.contents = document.createNode({}) as never;
  const anchored = anchoredNodes(document);
  for (const change of inOrder(changes)) {
    try {
      apply(document, change);
    } catch (cause) {
      if (cause instanceof SdkError) throw cause;
      throw nowhere(change.path, cause);
    }
  }
  keepAliases(document, anchored);
  if (isJson) return `${JSON.stringify(document.toJS({ maxAliasCount: 100 }), undefined, 2)}\n`;
  return withOldSpacing(text, document.toString({ lineWidth: 0 }));
}

/** What is taken away goes last, from the end of a list: paths are those of the text that was seen. */
function inOrder(changes: readonly ConfigChange[]): readonly ConfigChange[] {
  const index = ({ path }: ConfigChange): number => Number(path.findLast((step) => typeof step === 'number') ?? -1);
  const gone = changes.filter(({ value }) => value === undefined).sort((one, other) => index(other) - index(one));
  return [...changes.filter(({ value }) => value !== undefined), ...gone];
}

/** The writer of YAML puts one space before a comment; people line them up. */
function withOldSpacing(before: string, after: string): string {
  const bare = (line: string): string => line.replace(/\s+#/, ' #');
  const old = new Map<string, string[]>();
  for (const line of before.split('\n')) old.set(bare(line), [...(old.get(bare(line)) ?? []), line]);
  const spaced = after
    .split('\n')
    .map((line) => old.get(line)?.shift() ?? line)
    .join('\n');
  // Within quotes it would be another text.
  return isDeepStrictEqual(parsed(spaced), parsed(after)) ? spaced : after;
}

function parsed(text: string): unknown {
  const document = parseDocument(text, { merge: true });
  return document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 });
}

function apply(document: Document, { path, value }: ConfigChange): void {
  if (path.length === 0) throw nowhere(path);
  const parents = path.slice(0, -1);
  for (let depth = 1; depth <= parents.length; depth++) ownNode(document, parents.slice(0, depth), value !== undefined);
  const parent: unknown = parents.length === 0 ? document.contents : document.getIn(parents, true);
  const key = path.at(-1)!;
  if (value === undefined) {
    if (parent === undefined || parent === null) return;
    if (!isCollection(parent)) throw nowhere(path);
    parent.delete(key);
    // An empty section says nothing.
    if (isMap(parent) && parent.items.length === 0 && parents.length > 0) document.deleteIn(parents);
    return;
  }
  if (!isCollection(parent)) throw nowhere(path);
  if (isSeq(parent) && (typeof key !== 'number' || key > parent.items.length)) throw nowhere(path);
  const old = parent.get(key, true);
  if (isScalar(old) && (typeof value !== 'object' || value === null)) {
    // Keeps its comment; its way of quoting only where that is one for text.
    old.value = value;
    if (typeof value !== 'string') delete old.type;
    return;
  }
  const node = document.createNode(value, { flow: isPlain(value) });
  if (typeof old === 'object' && old !== null && 'comment' in old && typeof old.comment === 'string')
    node.comment = old.comment;
  if (isSeq(parent) && key === parent.items.length) parent.add(node);
  else parent.set(key, node);
}

/** Makes the collection at `path` one that is nobody else's: what an alias points at would change in both places. */
function ownNode(document: Document, path: PropertyPath, isMade: boolean): void {
  const node = document.getIn(path, true);
  if (isAlias(node)) {
    const copy = node.resolve(document)?.clone();
    if (!isCollection(copy)) throw nowhere(path);
    delete copy.anchor;
    document.setIn(path, copy);
  } else if (node === undefined || (isScalar(node) && node.value === null)) {
    // From a merge key (`<<`) it comes along as it is; what is written here wins.
    if (isMade && typeof path.at(-1) === 'string') document.setIn(path, document.createNode({}));
  } else if (!isCollection(node)) throw nowhere(path);
}

function anchoredNodes(document: Document): ReadonlyMap<string, Node> {
  const nodes = new Map<string, Node>();
  visit(document, {
    Node: (_, node) => {
      if (!isAlias(node) && node.anchor !== undefined) nodes.set(node.anchor, node);
    },
  });
  return nodes;
}

/** Aliases whose anchor went away with what was changed become what they stood for. */
function keepAliases(document: Document, anchored: ReadonlyMap<string, Node>): void {
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return undefined;
      const copy = anchored.get(node.source)?.clone() as Node | undefined;
      if (copy !== undefined && !isAlias(copy)) delete copy.anchor;
      return copy;
    },
  });
}

/** Lists of numbers and of texts stand in one line. */
function isPlain(value: unknown): boolean {
  return Array.isArray(value) && value.every((each) => typeof each !== 'object' || isPlain(each));
}

function nowhere(path: PropertyPath, cause?: unknown): SdkError {
  return new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected a path into the configuration, but received ${path.join('.')}.`,
    {
      cause,
    },
  );
}
