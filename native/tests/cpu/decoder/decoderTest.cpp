#include "cpu/decoder/decoder.h"
#include "common/cancelFlag.h"
#include "common/codedError.h"
#include "tests/support/checks.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

using namespace scenebus::cpu;
using scenebus::Aborted;
using scenebus::CancelFlag;

namespace {

constexpr int kLayers = 6;
constexpr int kHidden = 32;
constexpr int kVocabulary = 48;
const std::vector<int> kCrossLayers{2, 4};

/** A model of random float weights in a file, every tensor on pages of its own. */
class RandomModel {
public:
  RandomModel() {
    char path[] = "/tmp/scenebus-decoder-XXXXXX";
    close(mkstemp(path));
    mPath = path;
    spec.text.hiddenSize = kHidden;
    spec.text.layers = kLayers;
    spec.text.crossAttentionLayers = kCrossLayers;
    spec.text.attentionHeads = 2;
    spec.text.keyValueHeads = 1;
    spec.text.headDim = 16;
    spec.text.intermediateSize = 64;
    spec.text.vocabularySize = kVocabulary;
    spec.text.embeddingRows = kVocabulary;
    spec.contextLength = 700;
    const std::string model = "language_model.model.";
    add(model + "embed_tokens.weight", {kVocabulary, kHidden});
    add(model + "norm.weight", {kHidden});
    add("language_model.lm_head.weight", {kVocabulary, kHidden});
    for (int i = 0; i < kLayers; ++i) {
      const bool isCross = i == kCrossLayers[0] || i == kCrossLayers[1];
      const std::string layer = model + "layers." + std::to_string(i) + ".";
      const std::string attention = layer + (isCross ? "cross_attn." : "self_attn.");
      add(layer + "input_layernorm.weight", {kHidden});
      add(layer + "post_attention_layernorm.weight", {kHidden});
      add(attention + "q_proj.weight", {32, kHidden});
      add(attention + "k_proj.weight", {16, kHidden});
      add(attention + "v_proj.weight", {16, kHidden});
      add(attention + "o_proj.weight", {kHidden, 32});
      add(layer + "mlp.gate_proj.weight", {64, kHidden});
      add(layer + "mlp.up_proj.weight", {64, kHidden});
      add(layer + "mlp.down_proj.weight", {kHidden, 64});
      if (!isCross)
        continue;
      add(attention + "q_norm.weight", {16});
      add(attention + "k_norm.weight", {16});
      add(layer + "cross_attn_attn_gate", {1});
      add(layer + "cross_attn_mlp_gate", {1});
    }
    std::ofstream(mPath, std::ios::binary).write(mBytes.data(), static_cast<std::streamsize>(mBytes.size()));
  }
  ~RandomModel() { unlink(mPath.c_str()); }
  RandomModel(const RandomModel&) = delete;
  RandomModel& operator=(const RandomModel&) = delete;

  DecoderSpec spec;

private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::size_t count = 1;
    for (const auto side : shape)
      count *= static_cast<std::size_t>(side);
    const std::size_t offset = (mBytes.size() + 65535) / 65536 * 65536; // the largest page size of arm64
    mBytes.resize(offset + count * sizeof(float));
    std::uniform_real_distribution<float> value(-0.2f, 0.2f);
    for (std::size_t i = 0; i < count; ++i) {
      const float v = value(mRandom);
      std::memcpy(mBytes.data() + offset + i * sizeof(float), &v, sizeof(v));
    }
    spec.tensors.emplace(name, TensorSource{mPath, offset, count * sizeof(float), TensorType::kF32, shape});
  }

  std::string mPath;
  std::vector<char> mBytes;
  std::mt19937 mRandom{7};
};

/**
 * Notes each first read of some weights after a read of others, and sets the flag at the chosen one, from inside the
 * call: the pages of the weights may not be read until the handler of the fault allows it. No clock is involved.
 */
namespace watch {

constexpr int kMost = 32;
std::array<const Linear*, kMost> watched;
std::array<std::atomic<bool>, kMost> armed;
int count = 0;
std::array<int, 256> events;
std::atomic<int> eventCount{0};
int flagAt = 0;
std::int32_t flag = 0;

void allow(int index, bool readable) {
  mprotect(const_cast<void*>(watched[static_cast<std::size_t>(index)]->stored.data),
           static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), readable ? PROT_READ : PROT_NONE);
}

void arm(int index) {
  armed[static_cast<std::size_t>(index)] = true;
  allow(index, false);
}

void onFault(int, siginfo_t* info, void*) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < count; ++i) {
    const auto begin = reinterpret_cast<std::uintptr_t>(watched[static_cast<std::size_t>(i)]->stored.data);
    if (reinterpret_cast<std::uintptr_t>(info->si_addr) - begin >= page)
      continue;
    // Several workers may read it at once.
    if (armed[static_cast<std::size_t>(i)].exchange(false)) {
      const int before = eventCount++;
      events[static_cast<std::size_t>(before)] = i;
      if (before + 1 == flagAt)
        __atomic_store_n(&flag, 1, __ATOMIC_RELAXED);
      if (before > 0)
        arm(events[static_cast<std::size_t>(before) - 1]); // for the next pass
    }
    allow(i, true);
    return;
  }
  signal(SIGSEGV, SIG_DFL); // a fault of somebody else
}

/** Runs `call(abort)`, which reads `linears`, with the flag set at event `at` (from 1; 0 is never); false: aborted. */
template <typename Call> bool run(const std::vector<const Linear*>& linears, int at, const Call& call) {
  count = static_cast<int>(linears.size());
  std::copy(linears.begin(), linears.end(), watched.begin());
  eventCount = 0;
  flagAt = at;
  flag = 0;
  struct sigaction action {
  }, before{};
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &before);
  for (int i = 0; i < count; ++i)
    arm(i);
  bool finished = true;
  try {
    call(CancelFlag{&flag});
  } catch (const Aborted&) {
    finished = false;
  }
  for (int i = 0; i < count; ++i)
    allow(i, true);
  sigaction(SIGSEGV, &before, nullptr);
  return finished;
}

} // namespace watch

} // namespace

TEST_CASE("abort: a flag that is set within a layer of a long call lets no further layer begin") {
  RandomModel model;
  for (const int threads : {1, 2}) {
    model.spec.threads = threads;
    Decoder decoder(model.spec, {}, [](std::uint64_t, std::uint64_t) {});
    const std::vector<float> features(40 * kHidden, 0.5f);
    const auto image = decoder.encodeKeys(features.data(), 40, 40, {});
    // The first and the last weights of every layer, and those of the logits.
    std::vector<const Linear*> linears;
    for (const auto& layer : decoder.weights().layers) {
      linears.push_back(&layer.query);
      linears.push_back(&layer.down);
    }
    linears.push_back(&decoder.weights().head);
    const int head = 2 * kLayers, perPass = 2 * kLayers;
    const int tokenCount = 260, passes = 2; // a pass takes 256 tokens
    std::vector<std::int32_t> tokens(tokenCount);
    for (int i = 0; i < tokenCount; ++i)
      tokens[static_cast<std::size_t>(i)] = i % kVocabulary;
    std::vector<float> logits(kVocabulary), expected(kVocabulary);
    const auto sequence = decoder.createSequence();
    const auto forward = [&](CancelFlag abort) {
      decoder.forward(*sequence, tokens.data(), tokenCount, {{image, 0}}, LogitsOf::kLast, logits.data(), abort);
    };

    CHECK(watch::run(linears, 0, forward));
    CHECK_MESSAGE(watch::eventCount == passes * perPass + 1, "%d", watch::eventCount.load());
    CHECK(watch::events[passes * perPass] == head);
    CHECK(sequence->length == tokenCount);
    expected = logits;

    const int step = threads == 1 ? 1 : 7; // an emulator is slow here
    for (int at = 1; at <= passes * perPass; at += step) {
      sequence->length = 0;
      CHECK(!watch::run(linears, at, forward));
      // The rest of that layer may follow, and nothing else: no layer, no logits.
      CHECK_MESSAGE(watch::eventCount == (at + 1) / 2 * 2, "%d threads: flag at read %d, last read %d", threads, at,
                    watch::eventCount.load());
      CHECK(sequence->length == 0);
    }
    CHECK(watch::run(linears, 0, forward));
    CHECK(logits == expected);
  }
}

TEST_CASE("logits: those that nobody wants are not computed, and the next ones do not depend on it") {
  RandomModel model;
  Decoder decoder(model.spec, {}, [](std::uint64_t, std::uint64_t) {});
  const std::vector<const Linear*> linears{&decoder.weights().layers.front().query, &decoder.weights().head};
  const std::vector<std::int32_t> tokens{1, 2, 3, 4};
  const auto append = [&](Sequence& sequence, LogitsOf logitsOf, float* logits) {
    return watch::run(linears, 0, [&](CancelFlag cancel) {
      decoder.forward(sequence, tokens.data(), static_cast<int>(tokens.size()), {}, logitsOf, logits, cancel);
    });
  };
  std::vector<float> unused(kVocabulary), expected(kVocabulary), found(kVocabulary);
  const auto one = decoder.createSequence(), other = decoder.createSequence();
  CHECK(append(*one, LogitsOf::kLast, unused.data()));
  CHECK(watch::eventCount == 2);
  CHECK(append(*one, LogitsOf::kLast, expected.data()));
  CHECK(append(*other, LogitsOf::kNone, nullptr));
  CHECK_MESSAGE(watch::eventCount == 1, "%d: the head was read", watch::eventCount.load());
  CHECK(other->length == 4);
  CHECK(append(*other, LogitsOf::kLast, found.data()));
  CHECK(found == expected);
}

TEST_CASE("branches: alternatives give what each gives alone, and nothing of them stays") {
  RandomModel model;
  for (const auto type : {CacheType::kF32, CacheType::kF16, CacheType::kI8}) {
    model.spec.keyValueType = type;
    Decoder decoder(model.spec, {}, [](std::uint64_t, std::uint64_t) {});
    std::mt19937 random{11};
    std::uniform_real_distribution<float> value(-1.0f, 1.0f);
    std::vector<float> features(static_cast<std::size_t>(20) * kHidden);
    for (auto& each : features)
      each = value(random);
    const std::vector<PlacedImage> images{{decoder.encodeKeys(features.data(), 20, 17, {}), 1}};
    // Within a block of the cache, at its end, and beyond the columns that attention scores at a time.
    for (const int promptLength : {3, 16, 301}) {
      std::vector<std::int32_t> prompt(static_cast<std::size_t>(promptLength));
      for (auto& token : prompt)
        token = static_cast<std::int32_t>(random() % kVocabulary);
      const std::vector<int> lengths{1, 20, 3, 16};
      std::vector<std::int32_t> tokens(40);
      for (auto& token : tokens)
        token = static_cast<std::int32_t>(random() % kVocabulary);
      const auto sequence = decoder.createSequence(), other = decoder.createSequence();
      for (auto* each : {sequence.get(), other.get()})
        decoder.forward(*each, prompt.data(), promptLength, images, LogitsOf::kNone, nullptr, {});
      std::vector<float> found(tokens.size() * kVocabulary), expected(found.size());
      decoder.branch(*sequence, tokens.data(), lengths, images, found.data(), {});
      CHECK(sequence->length == promptLength);
      std::size_t begin = 0;
      for (const int length : lengths) {
        decoder.forward(*other, tokens.data() + begin, length, images, LogitsOf::kAll,
                        expected.data() + begin * kVocabulary, {});
        other->length = promptLength;
        begin += static_cast<std::size_t>(length);
      }
      float worst = 0.0f;
      for (std::size_t i = 0; i < found.size(); ++i)
        worst = std::max(worst, std::abs(found[i] - expected[i]));
      CHECK_MESSAGE(worst < 1e-4f, "prompt of %d: %g", promptLength, static_cast<double>(worst));
      // The text goes on as if nothing had been tried.
      std::vector<float> next(kVocabulary), plain(kVocabulary);
      decoder.forward(*sequence, tokens.data(), 1, images, LogitsOf::kLast, next.data(), {});
      decoder.forward(*other, tokens.data(), 1, images, LogitsOf::kLast, plain.data(), {});
      CHECK(next == plain);
    }
    const auto sequence = decoder.createSequence();
    std::vector<float> logits(static_cast<std::size_t>(257) * kVocabulary);
    const std::vector<std::int32_t> tokens(257, 1);
    const auto codeOf = [&](const std::vector<int>& lengths) -> std::string {
      try {
        decoder.branch(*sequence, tokens.data(), lengths, {}, logits.data(), {});
        return "";
      } catch (const scenebus::CodedError& error) {
        return error.code();
      }
    };
    CHECK(codeOf({1}) == "ERR_ARGUMENT_INVALID"); // behind nothing
    for (int i = 0; i < 3; ++i)
      decoder.forward(*sequence, tokens.data(), 200, {}, LogitsOf::kNone, nullptr, {});
    CHECK(codeOf({}) == "ERR_ARGUMENT_INVALID");
    CHECK(codeOf({2, 0}) == "ERR_ARGUMENT_INVALID");
    CHECK(codeOf({257}) == "ERR_ARGUMENT_INVALID");
    CHECK(codeOf(std::vector<int>(8, 1)) == "ERR_CONTEXT_OVERFLOW"); // each takes a block of its own
    CHECK(codeOf(std::vector<int>(5, 16)) == "");
    CHECK(sequence->length == 600);
  }
}

TEST_CASE("abort: a flag that is set while an image is encoded lets the tokens at hand end, and no more begin") {
  RandomModel model;
  model.spec.threads = 1; // keys before values, so that reads alternate
  Decoder decoder(model.spec, {}, [](std::uint64_t, std::uint64_t) {});
  std::vector<const Linear*> linears;
  for (const int layer : kCrossLayers) {
    linears.push_back(&decoder.weights().layers[static_cast<std::size_t>(layer)].key);
    linears.push_back(&decoder.weights().layers[static_cast<std::size_t>(layer)].value);
  }
  const int positions = 600, passes = 3;
  const std::vector<float> features(static_cast<std::size_t>(positions) * kHidden, 0.5f);
  const auto encode = [&](CancelFlag abort) { decoder.encodeKeys(features.data(), positions, positions, abort); };

  const int reads = 2 * passes * 2;
  CHECK(watch::run(linears, 0, encode));
  CHECK_MESSAGE(watch::eventCount == reads, "%d", watch::eventCount.load());
  for (int at = 1; at <= reads - 2; ++at) {
    CHECK(!watch::run(linears, at, encode));
    CHECK_MESSAGE(watch::eventCount == (at + 1) / 2 * 2, "flag at read %d, last read %d", at, watch::eventCount.load());
  }
}
