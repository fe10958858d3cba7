#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "core/error.h"
#include "gguf/reader.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

// The file may hold any bytes where UTF-8 is due: they become U+FFFD.
py::str text(std::string_view bytes) {
  PyObject* string =
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<py::ssize_t>(bytes.size()), "replace");
  if (string == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(string);
}

const char* numpy_type(GgufType type) {
  switch (type) {
    case GgufType::kU8:
      return "<u1";
    case GgufType::kI8:
      return "<i1";
    case GgufType::kU16:
      return "<u2";
    case GgufType::kI16:
      return "<i2";
    case GgufType::kU32:
      return "<u4";
    case GgufType::kI32:
      return "<i4";
    case GgufType::kF32:
      return "<f4";
    case GgufType::kBool:
      return "?";
    case GgufType::kU64:
      return "<u8";
    case GgufType::kI64:
      return "<i8";
    case GgufType::kF64:
      return "<f8";
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  fail(ErrorKind::kArgument, "no number: ", name_of(type));
}

py::object value_object(const GgufValue& value) {
  if (value.type == GgufType::kString) {
    if (!value.is_array) return text(value.strings[0]);
    py::list list(value.count);
    for (size_t i = 0; i < value.count; ++i) list[i] = text(value.strings[i]);
    return list;
  }
  py::array array(py::dtype(numpy_type(value.type)), static_cast<py::ssize_t>(value.count));
  auto* out = static_cast<std::byte*>(array.mutable_data());
  if (value.type == GgufType::kBool) {  // NumPy's are 0 and 1, the file's may be anything
    std::transform(value.data, value.data + value.count, out,
                   [](std::byte b) { return b == std::byte{0} ? b : std::byte{1}; });
  } else if (value.count > 0) {
    std::memcpy(out, value.data, static_cast<size_t>(array.nbytes()));
  }
  return value.is_array ? py::object(array) : array.attr("item")();
}

py::tuple shape(const GgufTensor& tensor) {
  py::tuple sizes(tensor.n_dims);
  for (int i = 0; i < tensor.n_dims; ++i) sizes[i] = tensor.dims[tensor.n_dims - 1 - i];
  return sizes;
}

std::string type_name(const GgufTensor& tensor) {
  std::string name = info(tensor.type).name;
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return name;
}

py::array_t<uint8_t> read(const GgufFile& file, const GgufTensor& tensor) {
  const auto tensors = file.tensors();
  check(&tensor >= tensors.data() && &tensor < tensors.data() + tensors.size(), "tensor ",
        quoted(tensor.name), " belongs to another file");
  py::array_t<uint8_t> bytes(static_cast<py::ssize_t>(tensor.n_bytes));
  std::byte* out = reinterpret_cast<std::byte*>(bytes.mutable_data());
  {
    const Unlocked unlocked;
    file.read(tensor, 0, {out, tensor.n_bytes});
  }
  return bytes;
}

}  // namespace

void gguf(py::module_& m) {
  py::class_<GgufTensor>(m, "TensorInfo")
      .def_property_readonly("name", [](const GgufTensor& t) { return text(t.name); })
      .def_property_readonly("type", type_name)
      .def_property_readonly("shape", shape)
      .def_readonly("offset", &GgufTensor::offset)
      .def_readonly("n_bytes", &GgufTensor::n_bytes)
      .def_readonly("part", &GgufTensor::part)
      .def("__repr__", [](const GgufTensor& t) {
        return py::str("TensorInfo({!r}, {}, {})").format(text(t.name), type_name(t), shape(t));
      });

  py::class_<GgufFile, std::shared_ptr<GgufFile>>(m, "GgufFile")
      .def(py::init([](const std::filesystem::path& path) {
             const Unlocked unlocked;
             return std::make_shared<GgufFile>(path);
           }),
           py::arg("path"))
      .def_property_readonly("path", [](const GgufFile& f) { return utf8(f.parts()[0].path()); })
      .def_property_readonly("version", &GgufFile::version)
      .def_property_readonly("alignment", &GgufFile::alignment)
      .def_property_readonly("n_bytes", &GgufFile::n_bytes)
      .def_property_readonly("n_parts", [](const GgufFile& f) { return f.parts().size(); })
      .def_property_readonly(
          "tensors",
          [](const py::object& self) {  // each keeps the file alive that it points into
            const auto tensors = self.cast<const GgufFile&>().tensors();
            py::list list(tensors.size());
            for (size_t i = 0; i < tensors.size(); ++i) {
              list[i] = py::cast(&tensors[i], py::return_value_policy::reference_internal, self);
            }
            return list;
          })
      .def_property_readonly("remarks",
                             [](const GgufFile& f) {
                               const auto remarks = f.remarks();
                               return std::vector<std::string>(remarks.begin(), remarks.end());
                             })
      .def("keys",
           [](const GgufFile& f) {
             py::list keys;
             for (const GgufValue& value : f.metadata()) keys.append(text(value.key));
             return keys;
           })
      .def(
          "get",
          [](const GgufFile& f, const std::string& key) -> py::object {
            const GgufValue* value = f.find(key);
            return value == nullptr ? py::none() : value_object(*value);
          },
          py::arg("key"))
      .def(
          "array_length",
          [](const GgufFile& f, const std::string& key) -> int64_t {
            const GgufValue* value = f.find(key);
            return value != nullptr && value->is_array ? static_cast<int64_t>(value->count) : -1;
          },
          py::arg("key"))
      .def("read", read, py::arg("tensor"));
}

}  // namespace edgelm::bind
