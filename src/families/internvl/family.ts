/** InternVL 2 to 3.5, in both layouts that its models are published in. */
import type { Family } from '../../contracts/family.js';
import { configureChat } from './chat.js';
import { configureHf } from './hf.js';
import { CHAT_PROCESSORS, HF_PROCESSORS } from './processor.js';

const HF = 'internvl';
const CHAT = 'internvl_chat';

export const family: Family = {
  name: 'internvl',
  modelTypes: [HF, CHAT],
  processors: [...HF_PROCESSORS, ...CHAT_PROCESSORS],
  configure: (files) => (files.config['model_type'] === CHAT ? configureChat(files) : configureHf(files)),
};
