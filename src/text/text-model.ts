/** The text side of a model: tokenizer and chat template, each built when first used. Pure: files are read elsewhere. */
import { VlmError } from '../contracts/errors.js';
import type { TextModel } from '../contracts/node.js';
import { tokenText } from './json.js';
import { compileTemplate, namedTokens, type Renderer } from './template.js';
import { type LoadedTokenizer, loadTokenizer } from './tokenizer.js';

export interface TextSources {
  /** Parsed tokenizer.json, given when first needed: big files are read only where tokens are made. */
  readonly tokenizer: () => unknown;
  readonly tokenizerConfig: Readonly<Record<string, unknown>> | null;
  readonly chatTemplate: string | null;
  /** Name of tokenizer.json and of the file that holds the template, for messages. */
  readonly tokenizerFile: string;
  readonly templateFile: string;
}

export function createTextModel(sources: TextSources): TextModel {
  const { tokenizerConfig: config, tokenizerFile, templateFile } = sources;
  let loaded: LoadedTokenizer | undefined;
  const tokenizer = (): LoadedTokenizer => {
    loaded ??= loadTokenizer(sources.tokenizer(), config, tokenizerFile);
    return loaded;
  };
  let renderer: Renderer | undefined;
  const bosToken = tokenText(config?.['bos_token']);
  return {
    get vocabSize() {
      return tokenizer().vocabSize;
    },
    get specialTokens() {
      return tokenizer().specialTokens;
    },
    ...(bosToken === undefined ? {} : { bosToken }),
    encode: (text, options) => tokenizer().encode(text, options),
    decode: (ids, options) => tokenizer().decode(ids, options),
    tokenId: (token) => tokenizer().tokenId(token),
    stream: (options) => tokenizer().stream(options),
    render(messages, options) {
      if (sources.chatTemplate === null) {
        throw new VlmError('TEMPLATE_INVALID', {
          what: 'The model has no chat template',
          expected: 'chat_template.jinja, or `chat_template` in tokenizer_config.json',
          where: templateFile,
          hint: 'fetch chat_template.jinja or tokenizer_config.json from the model’s repository',
        });
      }
      renderer ??= compileTemplate(sources.chatTemplate, namedTokens(config), templateFile);
      return renderer(messages, options);
    },
  };
}
