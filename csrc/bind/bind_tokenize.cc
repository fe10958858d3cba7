#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "core/error.h"
#include "gguf/reader.h"
#include "tokenize/bpe.h"
#include "tokenize/sentencepiece.h"
#include "tokenize/tokenizer.h"
#include "tokenize/unigram.h"
#include "tokenize/wordpiece.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

// A str's UTF-8, kept by the str itself. Unpaired surrogates raise UnicodeEncodeError.
std::string_view utf8(const py::str& text) {
  py::ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

py::list list_of(const std::vector<int32_t>& ids) {
  py::list list(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) list[i] = py::int_(ids[i]);
  return list;
}

// Of a copy: an item's __index__ or another thread may change a list meanwhile.
std::vector<int32_t> ids_of(const py::handle& sequence, int32_t size) {
  const auto items = py::reinterpret_steal<py::object>(PySequence_Tuple(sequence.ptr()));
  if (!items) throw py::error_already_set();
  std::vector<int32_t> ids(static_cast<size_t>(PyTuple_GET_SIZE(items.ptr())));
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto number = py::reinterpret_steal<py::object>(
        PyNumber_Index(PyTuple_GET_ITEM(items.ptr(), static_cast<py::ssize_t>(i))));
    if (!number) throw py::error_already_set();
    int overflow = 0;
    const long long id = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    check(overflow == 0 && id >= 0 && id < size, "ids[", i, "] is ",
          py::str(number).cast<std::string>(), "; this vocabulary has ids 0 to ", size - 1);
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

std::span<const std::string_view> required_strings(const GgufFile& file, const char* key) {
  const auto strings = file.strings(key);
  if (strings.empty()) {
    fail(ErrorKind::kModelFormat, "the file has no ", key,
         "; without this array of strings it holds no tokenizer of its kind");
  }
  return strings;
}

std::vector<uint8_t> charsmap(const GgufFile& file) {
  constexpr const char* kKey = "tokenizer.ggml.precompiled_charsmap";
  const GgufValue* value = file.find(kKey);
  if (value == nullptr) return {};
  if (!value->is_array || (value->type != GgufType::kU8 && value->type != GgufType::kI8)) {
    fail(ErrorKind::kModelFormat, kKey, " is no array of bytes");
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(value->data);
  return {bytes, bytes + value->count};
}

std::unique_ptr<Tokenizer> make(const GgufFile& file, const std::string& model,
                                const std::vector<std::string>& patterns, bool whole_words,
                                bool space_prefix, bool remove_extra_spaces, bool strip_after,
                                const std::vector<std::string>& keep_after, int32_t unknown,
                                const std::vector<std::string>& control,
                                const std::vector<std::string>& user_defined,
                                const std::vector<std::string>& markers) {
  const bool byte_level = model == "bpe";
  const auto merges = byte_level || model == "character-bpe"
                          ? required_strings(file, "tokenizer.ggml.merges")
                          : std::span<const std::string_view>();
  const bool scored = model == "sentencepiece" || model == "unigram";
  auto vocabulary = std::make_unique<Vocabulary>(
      required_strings(file, "tokenizer.ggml.tokens"),
      scored ? file.numbers("tokenizer.ggml.scores") : std::vector<float>(),
      file.integers("tokenizer.ggml.token_type"),
      byte_level ? Spelling::kByteLevel : Spelling::kSentencePiece,
      KnownNames{.control = control, .user_defined = user_defined, .markers = markers}, merges);
  std::unique_ptr<TokenModel> splitter;
  if (!merges.empty()) {
    std::vector<Pattern> compiled;
    for (const std::string& pattern : patterns) compiled.emplace_back(pattern);
    splitter = std::make_unique<BpeModel>(
        *vocabulary, merges, std::move(compiled),
        BpeModel::Options{.whole_words = whole_words, .unknown = unknown});
  } else if (model == "wordpiece") {
    splitter = std::make_unique<WordPieceModel>(*vocabulary, unknown);
  } else if (model == "sentencepiece" || model == "unigram") {
    Normalizer normalizer(
        charsmap(file), {.space_prefix = space_prefix, .remove_extra_spaces = remove_extra_spaces});
    if (model == "unigram") {
      splitter = std::make_unique<UnigramModel>(*vocabulary, std::move(normalizer), unknown);
    } else {
      splitter = std::make_unique<SentencePieceModel>(*vocabulary, std::move(normalizer), unknown);
    }
  } else {
    fail(ErrorKind::kArgument, "no tokenizer model is named '", model, "'");
  }
  return std::make_unique<Tokenizer>(std::move(vocabulary), std::move(splitter), strip_after,
                                     keep_after);
}

py::list partition(const Tokenizer& self, const py::str& text, bool parse_special) {
  py::list parts;
  for (const Tokenizer::Part& part : self.partition(utf8(text), parse_special)) {
    if (const auto* id = std::get_if<int32_t>(&part)) {
      parts.append(py::int_(*id));
    } else {
      const auto piece = std::get<std::string_view>(part);
      parts.append(py::str(piece.data(), piece.size()));
    }
  }
  return parts;
}

int32_t checked(const Tokenizer& self, int64_t id) {
  const int32_t size = self.vocabulary().size();
  check(id >= 0 && id < size, "token id ", id, " is not in 0 to ", size - 1);
  return static_cast<int32_t>(id);
}

}  // namespace

void tokenize(py::module_& m) {
  py::class_<Tokenizer>(m, "Tokenizer")
      .def(py::init(&make), py::arg("file"), py::kw_only(), py::arg("model"), py::arg("patterns"),
           py::arg("whole_words"), py::arg("space_prefix"), py::arg("remove_extra_spaces"),
           py::arg("strip_after"), py::arg("keep_after"), py::arg("unknown"), py::arg("control"),
           py::arg("user_defined"), py::arg("markers"))
      .def("__len__", [](const Tokenizer& t) { return t.vocabulary().size(); })
      .def(
          "find",
          [](const Tokenizer& t, const std::string& name) { return t.vocabulary().named(name); },
          py::arg("name"))
      .def(
          "token_bytes",
          [](const Tokenizer& t, int64_t id) {
            return py::bytes(std::string(t.vocabulary().bytes(checked(t, id))));
          },
          py::arg("id"))
      .def("partition", &partition, py::arg("text"), py::arg("parse_special"))
      .def(
          "encode",
          [](const Tokenizer& t, const py::str& text, bool parse_special) {
            const std::string_view view = utf8(text);
            std::vector<int32_t> ids;
            {
              const Unlocked unlocked;
              ids = t.encode(view, parse_special);
            }
            return list_of(ids);
          },
          py::arg("text"), py::arg("parse_special"))
      .def(
          "encode_fragment",
          [](const Tokenizer& t, const py::str& text, bool first) {
            return list_of(t.encode_fragment(utf8(text), first));
          },
          py::arg("text"), py::arg("first"))
      .def(
          "decode",
          [](const Tokenizer& t, const py::handle& ids, bool special) {
            return py::bytes(t.decode(ids_of(ids, t.vocabulary().size()), special));
          },
          py::arg("ids"), py::arg("special"));

  m.def(
      "split",
      [](const std::vector<std::string>& patterns, const py::str& text) {
        std::vector<std::string> pieces{std::string(utf8(text))};
        for (const std::string& source : patterns) {
          const Pattern pattern(source);
          std::vector<std::string> finer;
          for (const std::string& piece : pieces) {
            pattern.split(piece, [&](std::string_view part) { finer.emplace_back(part); });
          }
          pieces = std::move(finer);
        }
        return pieces;
      },
      py::arg("patterns"), py::arg("text"));
}

}  // namespace edgelm::bind
