/** Without imports: a command's help says them before anything else is loaded. */
export const TASK_NAMES = ['vqa', 'docvqa', 'chartqa', 'refcoco', 'pope', 'caption', 'mmmu', 'absent'] as const;
export type TaskName = (typeof TASK_NAMES)[number];

/** What each measures, and of which data sets. */
export const ABOUT_TASKS: Readonly<Record<TaskName, string>> = {
  vqa: 'VQA v1 and v2, TextVQA: accuracy against ten people, official normalisation',
  docvqa: 'DocVQA, InfographicVQA: ANLS',
  chartqa: 'ChartQA: relaxed accuracy, numbers within 5 %',
  refcoco: 'RefCOCO, RefCOCO+, RefCOCOg: boxes with IoU of at least 0.5, and pointing',
  pope: 'POPE: whether it sees things that are not there',
  caption: 'COCO captions: CIDEr-D, BLEU-4',
  mmmu: 'MMMU, ScienceQA: multiple choice, the option whose letter is likeliest',
  absent: 'gRefCOCO: things that are not there get no box, others do',
};
