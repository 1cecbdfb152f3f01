/** Server-sent events of a response, as a page reads them. */
export interface SentEvent {
  readonly type: string;
  readonly data: Record<string, unknown>;
}

export function sentEvents(text: string): SentEvent[] {
  return text.split('\n\n').flatMap((block) => {
    const found = /^event: (\w+)\ndata: (.*)$/s.exec(block);
    return found === null ? [] : [{ type: found[1]!, data: JSON.parse(found[2]!) as Record<string, unknown> }];
  });
}
