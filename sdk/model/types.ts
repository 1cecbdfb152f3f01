/** What callers of a model see: messages in, token streams and answers out. Plain data, no engine types. */
import type { ProcessMemory } from '../child/index.js';
import type { SdkError } from '../core/errors.js';
import type { CallOptions, Frame, GroundedObject } from '../core/types.js';
import type { EngineInfo } from '../engine/engine.js';
import type { CameraPlacement } from '../geometry/index.js';
import type { SchemaInput, ValueOf } from '../grammar/index.js';
import type { FinishReason } from '../inference/generation.js';
import type { Priority } from '../inference/priority.js';

import type { Decidable, DecidedOption, DecidedSchema } from './decidable.js';

export type { Priority } from '../inference/priority.js';

/** Pixels to look at, row-major `[height, width, 3]`. A camera `Frame` is one; so is a decoded file. */
export type ModelImage = Pick<Frame, 'width' | 'height' | 'format' | 'data'> & { readonly id?: string | undefined };

/** Who speaks. A system turn comes first and holds text only. */
export type ChatRole = 'system' | 'user' | 'assistant';

/** A piece of a message. */
export type ChatPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly image: ModelImage };

/** Text never turns into special tokens, whatever it holds: `<|eot_id|>` in it is eleven harmless characters. */
export interface ChatMessage {
  readonly role: ChatRole;
  /** Parts are joined without a separator. The model sees an image from its place on, not before it. */
  readonly content: string | readonly ChatPart[];
}

/** What the model goes on from. */
export interface GenerateRequest {
  readonly messages: readonly ChatMessage[];
  /**
   * `chat` (default): turns in the layout of the model's chat template. `plain`: one user message, whose text the model
   * goes on with; for base models, which were not trained on turns.
   */
  readonly layout?: 'chat' | 'plain' | undefined;
  /**
   * A conversation that is too long for the context: `disabled` (default) refuses it with ERR_CONTEXT_OVERFLOW;
   * `oldest-turns` leaves out as few of the oldest turns as must go, never the system message, a picture or the last turn,
   * and says so in `answer.notices`. Room is kept for `maxNewTokens`, at most a quarter of the context. A remote
   * model's server refuses what is too long for it either way.
   */
  readonly truncation?: 'disabled' | 'oldest-turns' | undefined;
}

/** How a text is written, and who goes first when several are. */
export interface GenerateOptions extends CallOptions {
  /** Upper bound of generated tokens; less when the context ends first. Default: the checkpoint's, else 512. */
  readonly maxNewTokens?: number | undefined;
  /**
   * 0 is greedy, and the default of `ask` and `describe`: the same question about the same picture gets the same answer.
   * Default of `generate`: the checkpoint's generation_config.json.
   */
  readonly temperature?: number | undefined;
  /** Nucleus: 0 < topP ≤ 1. Default: the checkpoint's generation_config.json. */
  readonly topP?: number | undefined;
  /** Draws from so many of the likeliest tokens; 0: from all. Default: the checkpoint's generation_config.json. */
  readonly topK?: number | undefined;
  /** 0–1: draws no token less likely than this share of the likeliest. Default: the checkpoint's, else 0. */
  readonly minP?: number | undefined;
  /**
   * 0–100, above 1: tokens of prompt and answer become less likely, at a temperature of 0 too. Default: the checkpoint's,
   * else 1.
   */
  readonly repetitionPenalty?: number | undefined;
  /** −2 … 2, above 0: tokens of the answer become less likely. Default 0. */
  readonly presencePenalty?: number | undefined;
  /** −2 … 2, above 0: tokens of the answer become less likely with each time they come. Default 0. */
  readonly frequencyPenalty?: number | undefined;
  /** No sequence of so many tokens comes twice in prompt and answer; 0: off. Default: the checkpoint's, else 0. */
  readonly noRepeatNgramSize?: number | undefined;
  /**
   * Same seed, same prompt, same engine: same text; on onnx (float) and tensorrt but for ties within the last bits, when
   * part of the prompt was still there (`usage.reusedTokens`). Default: random.
   */
  readonly seed?: number | undefined;
  /** Text ends before the first of these strings. At most 16, none empty. */
  readonly stop?: string | readonly string[] | undefined;
  /**
   * `auto` (default): greedy answers are drafted from earlier answers to the same prompt and from repetition, and
   * several drafted tokens are verified by one engine call, where that is faster. The text is the same; see
   * `usage.acceptedTokens`. `off`: one call a token. Nothing is drafted with a temperature above 0, nor with int4
   * weights on the onnx backend, whose rounding depends on how many tokens a call takes in.
   */
  readonly drafting?: 'auto' | 'off' | undefined;
  /**
   * Who goes first where several want the model: urgent questions before others, these before watches before
   * descriptions, from one token to the next. What was preempted keeps its place and goes on afterwards; a lower priority gets a tenth of the time even
   * when higher ones never stop. Default `question`; `describe` has `description`.
   */
  readonly priority?: Priority | undefined;
  /**
   * Who asks, in any words: callers of one priority take turns token by token, so that many requests of one do not hold
   * up another; requests of one caller run one after another. Default: all who give none are one caller.
   */
  readonly caller?: string | undefined;
  /**
   * Milliseconds from this call (of a stream: from its first read) after which the answer is worth nothing: then it
   * rejects with ERR_REQUEST_EXPIRED, waiting or running. Of one caller's requests the most urgent goes first. Default: none.
   */
  readonly deadlineMs?: number | undefined;
  /**
   * What the answer is: a zod 4 schema, or a JSON Schema (draft 2020-12). The model can write nothing else, and
   * `answer.value` is the parsed value. Compact JSON, properties in the schema's order. What cannot be enforced exactly
   * is refused (ERR_SCHEMA_UNSUPPORTED with `details.path`), never passed over.
   */
  readonly schema?: SchemaInput | undefined;
  /**
   * Asks the model about the cut-out of every box, at most 16, whether its label is in it: `verified` of the object says
   * what it answered, and the `score` takes it into account. What is refuted stays in the list. Each costs what a question
   * about a new picture costs, and counts in `usage`. Default false.
   */
  readonly verify?: boolean | undefined;
  /**
   * `answer.heatMaps` shows where the model looks for what the question asks the place of ("Where is the red cup?"), on
   * whatever way its boxes came. Needs heads that `scenebus calibrate-grounding` found (else ERR_REQUEST_UNSUPPORTED), and
   * costs one prompt. Default false.
   */
  readonly heatMap?: boolean | undefined;
  /**
   * The camera that took the picture: every object gets its `bearing` and, with a mounting, `floor`, where the lens's model
   * has a direction for it. Refused with ERR_ARGUMENT_INVALID for what is no calibrated camera, with ERR_CONFIG_INVALID
   * for one that is calibrated for pictures of another shape; nothing is asked then. Default: none is known.
   */
  readonly camera?: CameraPlacement | undefined;
  /**
   * `answer.tokens` tells how probable the model found each token of the text, and so many of the likeliest in its place
   * (0 to 20). Before temperature, nucleus, penalties and schema. Default: not.
   */
  readonly logProbabilities?: number | undefined;
  /** `stranger`: the schema is compiled in a thread of its own, within bounds of time and memory. Default `caller`. */
  readonly schemaFrom?: 'caller' | 'stranger' | undefined;
}

/** What an answer took. Counts. */
export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens whose keys and values were still there from the previous call. None with int4 weights on onnx. */
  readonly reusedTokens: number;
  /** Tokens that the model produced, the stop token included. */
  readonly generatedTokens: number;
  /** Guessed tokens that the engine verified. */
  readonly draftedTokens: number;
  /** Guessed tokens that were right: so many engine calls were saved. */
  readonly acceptedTokens: number;
  readonly images: number;
  /** Images whose vision features were still there. */
  readonly reusedImages: number;
  /**
   * How often something of higher priority went first after this had begun. It goes on where it was; only where memory
   * for sequences is short (`keyValueCache`) are its tokens computed again.
   */
  readonly preemptions: number;
}

/** All in milliseconds unless named otherwise. */
export interface Timings {
  /** Behind other generations of this model. */
  readonly queueMs: number;
  /** Resize, tiles and vision tower of the images that were not cached; here and below with what went first. */
  readonly imageMs: number;
  readonly prefillMs: number;
  /** From the start of the turn (after the queue) to the first token. */
  readonly timeToFirstTokenMs: number;
  readonly decodeMs: number;
  /** Calls of the engine for prompt and text (a count): `generatedTokens` without drafts. */
  readonly engineCalls: number;
  /** Tokens after the first, per second; 0 when there was only one. */
  readonly tokensPerSecond: number;
  /** Queue included. */
  readonly totalMs: number;
}

/** Where a model looked in the last picture when it read a name. */
export interface HeatMap {
  readonly label: string;
  /** 0–1: that anything of the name is there; absent where the model's calibration does not tell. */
  readonly presence?: number | undefined;
  /** A PNG file, to be stretched over the picture; bright where the model looked. */
  readonly png: Uint8Array;
}

/** A token, and how probable the model found it. */
export interface TokenProbability {
  /** U+FFFD where it is part of a character; of a special token its name (`<|eot_id|>`). */
  readonly text: string;
  /** In UTF-8, exactly; empty of special tokens. */
  readonly bytes: Uint8Array;
  /** Natural logarithm. */
  readonly logProbability: number;
}

/** A token of an answer's text. */
export interface AnswerToken extends TokenProbability {
  /** In its place, the likeliest first; as many as were asked for. */
  readonly likeliest: readonly TokenProbability[];
}

/** Whose answer it is, where there are two models. */
export interface AnsweredBy {
  /** As `ModelInfo` has them. */
  readonly name: string;
  readonly contentHash: string;
  readonly isRemote: boolean;
  /**
   * `first`: the local model's, which is sure enough. `unsure`, `busy`: the remote model's, because the local one was not
   * sure, or too many waited for it. `remote-failed`: the local model's, which is not sure, for the remote one did not answer.
   */
  readonly reason: 'first' | 'unsure' | 'busy' | 'remote-failed';
}

/** A whole answer. */
export interface Answer {
  /** What the model wrote, special tokens removed, cut before a stop string. */
  readonly text: string;
  /** The same in words, where the text is nothing but boxes in JSON ("Where is the red cup?"); else absent. English. */
  readonly sentence?: string | undefined;
  /** Boxes in the last image before the answer; empty when the model wrote none or has no box convention. */
  readonly objects: readonly GroundedObject[];
  /** With a schema: what the text says, checked against it. */
  readonly value?: unknown;
  /** Only with `heatMap`: where the model looked for what the question asks the place of; empty when it asks for none. */
  readonly heatMaps?: readonly HeatMap[] | undefined;
  /** Only with `logProbabilities`: the tokens of the text, without the one that ended it. */
  readonly tokens?: readonly AnswerToken[] | undefined;
  /**
   * What a person should know of this answer, in English: that a picture was asked about in another language than English,
   * for one, once in a conversation. Absent: nothing.
   */
  readonly notices?: readonly string[] | undefined;
  /** Only of a model that is two (`createModelRouter`). */
  readonly answeredBy?: AnsweredBy | undefined;
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  readonly timings: Timings;
}

/** An answer that a schema was given for. */
export type StructuredAnswer<Schema extends SchemaInput> = Answer & { readonly value: ValueOf<Schema> };

/** Who waits for a decision. */
export type DecideOptions = Pick<GenerateOptions, 'signal' | 'priority' | 'caller' | 'deadlineMs'>;

/** An answer that was decided, with the probability of every option. */
export interface DecidedAnswer<V extends DecidedOption['value'] = DecidedOption['value']> extends Answer {
  readonly value: V;
  /** 0–1, of `value` among the options. */
  readonly probability: number;
  /** The most probable first; the probabilities add up to 1. */
  readonly options: readonly DecidedOption[];
  /** See `Decision.coverage`. */
  readonly coverage: number;
}

/** Who waits for likelihoods, and behind which question texts are measured. */
export interface LikelihoodOptions extends DecideOptions {
  /** What the texts would answer. Default: the describe prompt of the model's manifest. */
  readonly prompt?: string | undefined;
}

/** How probable a text is. */
export interface TextLikelihood {
  readonly text: string;
  /** Natural logarithm, of the whole text; what would come behind it does not count. */
  readonly logProbability: number;
  /** Of the text; a fair comparison of two divides by it. */
  readonly tokens: number;
}

/** Texts in the order in which they were given. */
export interface Likelihoods {
  readonly texts: readonly TextLikelihood[];
  readonly usage: Usage;
  readonly timings: Timings;
}

/** What a model would answer, if it had to choose. */
export interface Decision extends DecidedOption {
  /** All of them, the most probable first; the probabilities add up to 1. */
  readonly options: readonly DecidedOption[];
  /** 0–1: how probable it is that the model, free to write what it likes, begins with one of the options. */
  readonly coverage: number;
  /** As `Answer.notices`. */
  readonly notices?: readonly string[] | undefined;
  /** As `Answer.answeredBy`. */
  readonly answeredBy?: AnsweredBy | undefined;
  readonly usage: Usage;
  readonly timings: Timings;
}

/**
 * Text as it arrives. Nothing runs until it is iterated or collected; then it runs to its end by itself, so a slow
 * reader never holds up others. Leaving a `for await` loop stops the generation. Iterate once; `collect()` may follow
 * a finished loop and gives the whole answer.
 */
export interface TokenStream extends AsyncIterable<string> {
  collect(): Promise<Answer>;
}

/** What is known of a model that a server on another machine runs (`loadModel({ remote })`). Plain data. */
export interface RemoteEngineInfo {
  readonly backend: 'remote';
  /** Address of the API. */
  readonly device: string;
  readonly numerics: 'unknown';
  readonly weights: 'unknown';
  /** undefined: the server does not tell, or was not reached yet. */
  readonly contextLength: number | undefined;
  readonly capabilities: RemoteCapabilities;
}

/** What can be asked of a remote model; undefined: its server was not reached yet. What it cannot do is refused. */
export interface RemoteCapabilities {
  /** Nobody sees from here what a remote model looks at: no heat maps. */
  readonly attentionTaps: false;
  /** `logProbabilities` of a request, and `decide` with all that builds on it (`yesNo`, `choice`). */
  readonly logProbabilities: boolean | undefined;
  /** `answer.objects`: sent by a SceneBus, or read from the text by `remote.boxes`. */
  readonly boxes: boolean | undefined;
  /** Whether pictures may be sent. */
  readonly pictures: boolean;
}

/** What a loaded model is. Plain data. */
export interface ModelInfo {
  readonly name: string;
  /** Identifies the weights and configuration, on every machine alike; of a remote model its address and name, for nobody sees more of it. */
  readonly contentHash: string;
  readonly engine: EngineInfo | RemoteEngineInfo;
  /** The model writes boxes in a convention that its manifest declares. */
  readonly writesBoxes: boolean;
  /** Questions for the place of something get boxes, written or by attention. */
  readonly locates: boolean;
  /** What the model's manifest asks it for a description, a list of objects, and one of them (`{label}`). */
  readonly prompts: { readonly describe: string; readonly list: string; readonly locate: string };
  /** What a person should know of every answer, for example that the model was not trained to give any. */
  readonly notices: readonly string[];
}

/** The process of a model loaded with `isolation: 'process'`. */
export interface ModelProcess {
  readonly pid: number;
  /** As the system counts it now; undefined when the process is gone. */
  memory(): ProcessMemory | undefined;
  /**
   * Resolves when the process is gone and its memory is back: with undefined after `dispose`, with ERR_ENGINE_DIED (what
   * it wrote last in `details.output`) when it crashed, hung, or its engine could not be trusted any more.
   */
  readonly ended: Promise<SdkError | undefined>;
}

/** Plain numbers of this moment, for health reports. */
export interface ModelStats {
  /** Requests that have not begun. */
  readonly waiting: Readonly<Record<Priority, number>>;
  /** Requests that have begun: at most a few, of which some compute and the others are preempted. */
  readonly running: number;
  /** Since loading. */
  readonly preemptions: number;
  /** Sequences in memory, idle ones included, and what they hold or may still come to hold. */
  readonly sequences: number;
  readonly sequenceBytes: number;
  /** Pictures whose vision features are in memory. */
  readonly cachedImages: number;
  readonly cachedImageBytes: number;
  /** Only of a remote model. `open`: its server failed too often in a row, and is left alone for a while. */
  readonly circuit?: 'closed' | 'open' | 'half-open' | undefined;
}

/**
 * One loaded model, shared by any number of callers: their requests take turns (see `priority` and `caller`). Of each
 * priority `maxWaiting` may wait; more are refused with ERR_BUSY and `details.retryAfterMs`.
 */
export interface VisionLanguageModel extends AsyncDisposable {
  readonly info: ModelInfo;
  /** Only with `isolation: 'process'`. */
  readonly process?: ModelProcess | undefined;
  /** Of a model in a process of its own: as it was half a second ago at most. */
  stats(): ModelStats;
  /**
   * One question about one picture. Greedy unless the options set a temperature. Asking again about the same pixels
   * reuses the vision features.
   * @throws SdkError ERR_PROMPT_INVALID, ERR_CONTEXT_OVERFLOW, ERR_IMAGE_INVALID, ERR_BUSY, ERR_REQUEST_EXPIRED, ERR_DISPOSED,
   * ERR_ENGINE_*; with a schema also ERR_SCHEMA_*, ERR_ANSWER_INCOMPLETE (`maxNewTokens` came first) and
   * ERR_ANSWER_INVALID, both with `details.text`
   *
   * @example
   * const { value } = await model.ask(frame, 'How many cups?', { schema: z.object({ cups: z.int().min(0).max(20) }) });
   */
  ask<V extends DecidedOption['value']>(
    image: ModelImage,
    question: string,
    options: DecideOptions & { readonly schema: DecidedSchema<V> },
  ): Promise<DecidedAnswer<V>>;
  ask<Schema extends SchemaInput>(
    image: ModelImage,
    question: string,
    options: GenerateOptions & { readonly schema: Schema },
  ): Promise<StructuredAnswer<Schema>>;
  ask(image: ModelImage, question: string, options?: GenerateOptions): Promise<Answer>;
  /**
   * The describe prompt of the model's manifest. Greedy unless the options set a temperature: the same scene is
   * described the same way again, and descriptions that follow each other draft each other.
   */
  describe(image: ModelImage, options?: GenerateOptions): Promise<Answer>;
  /**
   * One question whose answer is one of a few: read from the probabilities behind the prompt, so nothing is written.
   * One call of the engine; where options begin alike and that is probable, one more for all such beginnings together on the
   * backend `cpu`, which computes alternatives beside each other, and one for each on the others
   * (`info.engine.capabilities.branchTokens` is 0). A beginning is computed once.
   * @throws SdkError as `ask`; ERR_ARGUMENT_INVALID for what leaves nothing to decide
   *
   * @example
   * const { value, probability } = await model.decide(frame, 'Is there a person?', { type: 'yes-no' });
   */
  decide(image: ModelImage, question: string, among: Decidable, options?: DecideOptions): Promise<Decision>;
  /**
   * How probable the model finds each of some texts as its answer to the describe prompt, about a picture or without one
   * (`undefined`). Nothing is written. The prompt is computed once, each text behind it in one call or few.
   * `rankImages` and `rankTexts` make retrieval of it.
   * @param texts 1 to 256, none of them empty
   * @throws SdkError as `ask`; ERR_ARGUMENT_INVALID, ERR_LIMIT_EXCEEDED for texts that are none or too many
   *
   * @example
   * const { texts } = await model.likelihood(frame, ['A red cup.', 'A blue book.']);
   */
  likelihood(
    image: ModelImage | undefined,
    texts: readonly string[],
    options?: LikelihoodOptions,
  ): Promise<Likelihoods>;
  /**
   * Goes on with a text about a picture, or without one (`undefined`), in the layout of base models:
   * `<|image|><|begin_of_text|>text`.
   * @throws SdkError as `ask`
   *
   * @example
   * const { text } = await base.complete(frame, 'The sign above the door says "', { stop: '"' });
   */
  complete(image: ModelImage | undefined, text: string, options?: GenerateOptions): Promise<Answer>;
  generate(request: GenerateRequest, options?: GenerateOptions): TokenStream;
}
