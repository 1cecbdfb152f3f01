/**
 * The grammar as an automaton with a stack. A configuration is a place inside of a leaf and what comes after it; a
 * state is the set of all configurations that what was read can have led to. Equal ones are the same object, so that
 * what was computed for a state is there when it comes again.
 */
import type { LengthUnit } from '../automata/dfa.js';
import { tooComplex } from '../errors.js';
import type { ArrayRule, Grammar, ObjectRule, ValueRule } from '../rules.js';
import { KeyState, type NameClass, nameClass, type UsedNames } from './key-leaf.js';
import { type LeafState, LiteralState, PlainState } from './leaf.js';
import { startOfString } from './string-leaf.js';

/** What is to be read after something: a node's turn, then its parent's. */
export interface Continuation {
  readonly id: number;
  /** Equal for those that differ in nothing but the names that objects have used. */
  readonly shape: number;
  readonly node: Node;
  readonly parent: Continuation | undefined;
  configurations: readonly Configuration[] | undefined;
}

export interface Configuration {
  readonly id: number;
  /** As of `after`, with the leaf: what may come is the same, but for names that are written a second time. */
  readonly shape: string;
  readonly leaf: LeafState;
  readonly after: Continuation;
}

/** A position between two leaves. */
interface Node {
  readonly id: number;
  /** The same for nodes that differ in the names used; without it no other node is alike. */
  readonly shape?: string;
  /** How reading goes on from here. */
  expand(machine: Machine, parent: Continuation | undefined): readonly Configuration[];
}

let lastId = 0;

/** Nothing comes after the answer. */
const END: Node = { id: ++lastId, expand: () => [] };

/** Configurations that a set may have; only schemas with many alternatives alike, nested deep, come near. */
const MAX_CONFIGURATIONS = 1_024;
/** Interned objects; beyond that the cache is cleared and filled again. */
const MAX_INTERNED = 20_000;

/** What was read, up to what makes a difference. */
export class MatchState {
  readonly configurations: readonly Configuration[];
  /** The answer may end here. */
  readonly isFinal: boolean;
  mask: Uint32Array | undefined;
  readonly #machine: Machine;
  readonly #next = new Map<number, MatchState | null>();

  constructor(machine: Machine, configurations: readonly Configuration[]) {
    this.#machine = machine;
    this.configurations = configurations;
    this.isFinal = configurations.some((each) => each.leaf.accepts && each.after.node === END);
  }

  /** null where the byte may not come. */
  step(byte: number): MatchState | null {
    let next = this.#next.get(byte);
    if (next === undefined) {
      next = this.#follow(byte);
      this.#next.set(byte, next);
    }
    return next;
  }

  #follow(byte: number): MatchState | null {
    const machine = this.#machine;
    const reached: Configuration[] = [];
    for (const configuration of this.configurations) {
      const { leaf, after } = configuration;
      const next = leaf.step(byte);
      if (next !== null) reached.push(machine.configuration(next, after));
      if (!leaf.accepts) continue;
      for (const begun of machine.expand(machine.exitOf(configuration))) {
        const first = begun.leaf.step(byte);
        if (first !== null) reached.push(machine.configuration(first, begun.after));
      }
    }
    return reached.length === 0 ? null : machine.state(reached);
  }
}

export class Machine {
  readonly #lengthUnit: LengthUnit;
  readonly #rules: readonly RuleNode[];
  readonly #literals = new Map<string, LeafState>();
  #configurations = new Map<number, Configuration>();
  #continuations = new Map<string, Continuation>();
  #states = new Map<string, MatchState>();
  #shapes = new Map<string, number>();
  /** Objects may have names that the schema does not list. */
  readonly hasFreeNames: boolean;

  constructor(grammar: Grammar) {
    this.#lengthUnit = grammar.lengthUnit;
    this.#rules = grammar.rules.map((rule) => new RuleNode(rule));
    this.hasFreeNames = grammar.rules.some(({ objects }) => objects.some(({ classes }) => classes.length > 0));
  }

  start(): MatchState {
    return this.state(this.#rules[0]!.expand(this, this.continuation(END, undefined)));
  }

  get lengthUnit(): LengthUnit {
    return this.#lengthUnit;
  }

  rule(id: number): RuleNode {
    return this.#rules[id]!;
  }

  literal(text: string): LeafState {
    let literal = this.#literals.get(text);
    if (literal === undefined) {
      literal = new LiteralState(new TextEncoder().encode(text));
      this.#literals.set(text, literal);
    }
    return literal;
  }

  continuation(node: Node, parent: Continuation | undefined): Continuation {
    const key = `${node.id} ${parent?.id}`;
    let continuation = this.#continuations.get(key);
    if (continuation === undefined) {
      this.#makeRoom();
      const shape = this.#shape(`${node.shape ?? node.id} ${parent?.shape}`);
      continuation = { id: ++lastId, shape, node, parent, configurations: undefined };
      this.#continuations.set(key, continuation);
    }
    return continuation;
  }

  configuration(leaf: LeafState, after: Continuation): Configuration {
    const key = leaf.id * 2 ** 26 + (after.id % 2 ** 26);
    let configuration = this.#configurations.get(key);
    if (configuration?.after !== after || configuration.leaf !== leaf) {
      this.#makeRoom();
      const shape = `${leaf instanceof KeyState ? leaf.base.id : leaf.id} ${after.shape}`;
      configuration = { id: ++lastId, shape, leaf, after };
      this.#configurations.set(key, configuration);
    }
    return configuration;
  }

  /** @throws SdkError ERR_LIMIT_EXCEEDED where too many readings are possible at once */
  state(configurations: readonly Configuration[]): MatchState {
    const distinct = [...new Set(configurations)].sort((a, b) => a.id - b.id);
    if (distinct.length > MAX_CONFIGURATIONS)
      throw tooComplex(`more than ${MAX_CONFIGURATIONS} readings of one text at once`);
    const key = distinct.map(({ id }) => id).join(' ');
    let state = this.#states.get(key);
    if (state === undefined) {
      this.#makeRoom();
      state = new MatchState(this, distinct);
      this.#states.set(key, state);
    }
    return state;
  }

  expand(after: Continuation): readonly Configuration[] {
    after.configurations ??= after.node.expand(this, after.parent);
    return after.configurations;
  }

  /** What comes after a leaf that is whole: it may depend on what the leaf read. */
  exitOf({ leaf, after }: Pick<Configuration, 'leaf' | 'after'>): Continuation {
    return leaf instanceof KeyState && after.node instanceof KeyNode
      ? after.node.afterKey(this, leaf, after.parent)
      : after;
  }

  /** Numbers are never given twice: a shape that was forgotten only gets another. */
  #shape(key: string): number {
    let shape = this.#shapes.get(key);
    if (shape === undefined) {
      if (this.#shapes.size >= MAX_INTERNED) this.#shapes = new Map();
      shape = ++lastId;
      this.#shapes.set(key, shape);
    }
    return shape;
  }

  /** Interning saves work only; what is in use stays valid. */
  #makeRoom(): void {
    if (this.#configurations.size + this.#continuations.size + this.#states.size < MAX_INTERNED) return;
    this.#configurations = new Map();
    this.#continuations = new Map();
    this.#states = new Map();
    for (const rule of this.#rules) rule.forget();
  }
}

/** Any value of a rule. */
class RuleNode implements Node {
  readonly id = ++lastId;
  readonly #rule: ValueRule;
  readonly #arrays: readonly ArrayPositions[];
  readonly #objects: readonly ObjectPositions[];
  #numbers: LeafState | undefined;
  #strings: LeafState | undefined;

  constructor(rule: ValueRule) {
    this.#rule = rule;
    this.#arrays = rule.arrays.map((array) => new ArrayPositions(array));
    this.#objects = rule.objects.map((object) => new ObjectPositions(object));
  }

  expand(machine: Machine, parent: Continuation | undefined): readonly Configuration[] {
    const { words, numbers, strings } = this.#rule;
    const after = parent!;
    const configurations = words.map((word) => machine.configuration(machine.literal(word), after));
    if (numbers !== undefined) {
      this.#numbers ??= PlainState.start(numbers);
      configurations.push(machine.configuration(this.#numbers, after));
    }
    if (strings !== undefined) {
      this.#strings ??= startOfString({ ...strings, lengthUnit: machine.lengthUnit, canonical: false });
      configurations.push(machine.configuration(this.#strings, after));
    }
    for (const array of this.#arrays) {
      configurations.push(machine.configuration(machine.literal('['), machine.continuation(array.at(0), after)));
    }
    for (const object of this.#objects) {
      configurations.push(machine.configuration(machine.literal('{'), machine.continuation(object.start(), after)));
    }
    return configurations;
  }

  forget(): void {
    for (const object of this.#objects) object.forget();
  }
}

class ArrayPositions {
  readonly #rule: ArrayRule;
  readonly #nodes = new Map<number, ArrayNode>();

  constructor(rule: ArrayRule) {
    this.#rule = rule;
  }

  /** After so many items; without a largest number, those beyond prefix and least number are one position. */
  at(count: number): ArrayNode {
    const { prefix, min, max } = this.#rule;
    const last = Math.max(prefix.length, min, 1);
    const position = max === Number.POSITIVE_INFINITY ? Math.min(count, last) : count;
    let node = this.#nodes.get(position);
    if (node === undefined) {
      node = new ArrayNode(this, this.#rule, position);
      this.#nodes.set(position, node);
    }
    return node;
  }
}

class ArrayNode implements Node {
  readonly id = ++lastId;
  readonly #positions: ArrayPositions;
  readonly #rule: ArrayRule;
  readonly #count: number;

  constructor(positions: ArrayPositions, rule: ArrayRule, count: number) {
    this.#positions = positions;
    this.#rule = rule;
    this.#count = count;
  }

  expand(machine: Machine, parent: Continuation | undefined): readonly Configuration[] {
    const { prefix, items, min, max } = this.#rule;
    const count = this.#count;
    const after = parent!;
    const configurations: Configuration[] = [];
    if (count >= min) configurations.push(machine.configuration(machine.literal(']'), after));
    if (count < max) {
      const item = machine.rule(prefix[count] ?? items);
      const next = machine.continuation(this.#positions.at(count + 1), after);
      if (count === 0) configurations.push(...item.expand(machine, next));
      else configurations.push(machine.configuration(machine.literal(','), machine.continuation(item, next)));
    }
    return configurations;
  }
}

interface ObjectPosition {
  /** The next listed property that may come. */
  readonly index: number;
  /** Properties written. */
  readonly count: number;
  /** Of the names that the schema does not list. */
  readonly used: UsedNames;
}

const NONE_USED: UsedNames = new Set();

class ObjectPositions {
  readonly id = ++lastId;
  readonly rule: ObjectRule;
  /** Of each index: required properties from there on. */
  readonly #requiredFrom: readonly number[];
  #classes: readonly NameClass[] | undefined;
  #nodes = new Map<string, ObjectNode>();
  #keyNodes = new Map<string, KeyNode>();

  constructor(rule: ObjectRule) {
    this.rule = rule;
    const requiredFrom = new Array<number>(rule.properties.length + 1).fill(0);
    for (let i = rule.properties.length - 1; i >= 0; i--) {
      requiredFrom[i] = requiredFrom[i + 1]! + (rule.properties[i]!.required ? 1 : 0);
    }
    this.#requiredFrom = requiredFrom;
  }

  get classes(): readonly NameClass[] {
    this.#classes ??= this.rule.classes.map(({ names }) => nameClass(names));
    return this.#classes;
  }

  start(): ObjectNode {
    return this.at({ index: 0, count: 0, used: NONE_USED });
  }

  at(position: ObjectPosition): ObjectNode {
    const { min, max } = this.rule;
    // Counts matter where there are bounds; otherwise only whether a comma is due.
    const count = min === 0 && max === Number.POSITIVE_INFINITY ? Math.min(position.count, 1) : position.count;
    const key = `${position.index} ${count} ${[...position.used].join(',')}`;
    let node = this.#nodes.get(key);
    if (node === undefined) {
      node = new ObjectNode(this, { ...position, count });
      this.#nodes.set(key, node);
    }
    return node;
  }

  keyNode(position: ObjectPosition, rule: number): KeyNode {
    const key = `${rule} ${position.count} ${[...position.used].join(',')}`;
    let node = this.#keyNodes.get(key);
    if (node === undefined) {
      node = new KeyNode(this, position, rule);
      this.#keyNodes.set(key, node);
    }
    return node;
  }

  /** Whether, with `count` written and only properties from `index` on to come, the object can still be ended. */
  canEnd(count: number, index: number): boolean {
    const { properties, classes, min, max } = this.rule;
    if (count + this.#requiredFrom[index]! > max) return false;
    return classes.length > 0 || count + properties.length - index >= min;
  }

  forget(): void {
    this.#nodes = new Map();
    this.#keyNodes = new Map();
  }
}

class ObjectNode implements Node {
  readonly id = ++lastId;
  readonly shape: string;
  readonly #positions: ObjectPositions;
  readonly #position: ObjectPosition;

  constructor(positions: ObjectPositions, position: ObjectPosition) {
    this.#positions = positions;
    this.#position = position;
    this.shape = `object ${positions.id} ${position.index} ${position.count}`;
  }

  expand(machine: Machine, parent: Continuation | undefined): readonly Configuration[] {
    const { properties, min, max } = this.#positions.rule;
    const { index, count, used } = this.#position;
    const after = parent!;
    const comma = count === 0 ? '' : ',';
    const configurations: Configuration[] = [];
    let next = index;
    for (; next < properties.length; next++) {
      const { name, rule, required } = properties[next]!;
      if (this.#positions.canEnd(count + 1, next + 1)) {
        const following = this.#positions.at({ index: next + 1, count: count + 1, used });
        const value = machine.continuation(machine.rule(rule), machine.continuation(following, after));
        configurations.push(machine.configuration(machine.literal(`${comma}${JSON.stringify(name)}:`), value));
      }
      if (required) return configurations;
    }
    if (count >= min) configurations.push(machine.configuration(machine.literal('}'), after));
    if (count < max) configurations.push(...this.#otherNames(machine, after, comma));
    return configurations;
  }

  #otherNames(machine: Machine, after: Continuation, comma: string): Configuration[] {
    const { rule, classes } = this.#positions;
    const position = { ...this.#position, index: rule.properties.length };
    return classes.map((nameClass, i) => {
      const following = machine.continuation(this.#positions.keyNode(position, rule.classes[i]!.rule), after);
      const key = new KeyState(nameClass, position.used);
      if (comma === '') return machine.configuration(key, following);
      const shape = `name ${i} ${following.shape}`;
      const start: Node = { id: ++lastId, shape, expand: () => [machine.configuration(key, following)] };
      return machine.configuration(machine.literal(comma), machine.continuation(start, undefined));
    });
  }
}

/** After a name that the schema does not list. */
class KeyNode implements Node {
  readonly id = ++lastId;
  readonly shape: string;
  readonly #positions: ObjectPositions;
  readonly #position: ObjectPosition;
  readonly #rule: number;

  constructor(positions: ObjectPositions, position: ObjectPosition, rule: number) {
    this.#positions = positions;
    this.#position = position;
    this.#rule = rule;
    this.shape = `key ${positions.id} ${rule} ${position.index} ${position.count}`;
  }

  expand(): never {
    throw new Error('a name is followed by what afterKey says');
  }

  afterKey(machine: Machine, key: KeyState, parent: Continuation | undefined): Continuation {
    const { index, count, used } = this.#position;
    const following = this.#positions.at({ index, count: count + 1, used: new Set([...used, key.text]) });
    const value = machine.continuation(machine.rule(this.#rule), machine.continuation(following, parent));
    return machine.continuation(COLON, value);
  }
}

const COLON: Node = {
  id: ++lastId,
  expand: (machine, parent) => [machine.configuration(machine.literal(':'), parent!)],
};
