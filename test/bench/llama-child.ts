/** llama.cpp in a process of its own: its threads, its memory, and a crash of it are its own too. */
import { existsSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** What the bench asks; every request is answered with `LlamaAnswer`. */
export type LlamaRequest =
  | {
      readonly kind: 'open';
      /** The package's entry file. */
      readonly entry: string;
      readonly model: string;
      readonly threads: number;
      readonly contextLength: number;
    }
  | { readonly kind: 'forward'; readonly position: number; readonly tokens: readonly number[]; readonly all: boolean };

export interface LlamaAnswer {
  readonly ms: number;
  /** Of llama.cpp, when it was opened. */
  readonly release?: string;
}
type LlamaReply = LlamaAnswer | { readonly error: string };

/** As far as it is used here; the package is no dependency. */
interface LlamaPackage {
  getLlama(options: object): Promise<{
    readonly llamaCppRelease: { readonly release: string };
    loadModel(options: object): Promise<{ createContext(options: object): Promise<{ getSequence(): LlamaSequence }> }>;
  }>;
}
interface LlamaSequence {
  readonly nextTokenIndex: number;
  eraseContextTokenRanges(ranges: readonly { readonly start: number; readonly end: number }[]): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  controlledEvaluate(input: readonly unknown[]): Promise<unknown>;
}

const greedy = { generateNext: { token: true, options: { temperature: 0 } } };
let sequence: LlamaSequence | undefined;

async function open({ entry, model, threads, contextLength }: LlamaRequest & { kind: 'open' }): Promise<LlamaReply> {
  if (!existsSync(entry)) return { error: `${entry} is missing` };
  const { getLlama } = (await import(pathToFileURL(entry).href)) as LlamaPackage;
  const start = performance.now();
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    progressLogs: false,
    logLevel: 'error',
    maxThreads: threads,
  });
  const loaded = await llama.loadModel({ modelPath: model });
  const context = await loaded.createContext({ contextSize: contextLength, sequences: 1, threads, batchSize: 512 });
  sequence = context.getSequence();
  return { ms: performance.now() - start, release: llama.llamaCppRelease.release };
}

async function forward({ position, tokens, all }: LlamaRequest & { kind: 'forward' }): Promise<LlamaReply> {
  if (sequence === undefined) return { error: 'nothing is open' };
  const end = sequence.nextTokenIndex;
  if (end > position) await sequence.eraseContextTokenRanges([{ start: position, end }]);
  const start = performance.now();
  const last = tokens.length - 1;
  // A token's logits are computed where its successor is asked for.
  await sequence.controlledEvaluate(tokens.map((token, i) => (all || i === last ? [token, greedy] : token)));
  return { ms: performance.now() - start };
}

process.on('message', async (request: LlamaRequest) => {
  const reply = await (request.kind === 'open' ? open(request) : forward(request)).catch((error: unknown) => ({
    error: error instanceof Error ? error.message : String(error),
  }));
  process.send?.(reply);
});
process.on('disconnect', () => process.exit());
