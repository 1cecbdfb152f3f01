/** What the API needs of a model: one that is loaded, or one that a service loads again when it was lost. */
import type { GenerateOptions, GenerateRequest, ModelInfo, TokenStream } from 'scenebus';

export interface ServedModel {
  /** undefined while the model is being loaded. */
  readonly info: ModelInfo | undefined;
  /** While there is no model the stream rejects with ERR_ENGINE_DIED. */
  generate(request: GenerateRequest, options: GenerateOptions): TokenStream;
}
