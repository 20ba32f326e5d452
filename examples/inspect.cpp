// inspect: says what is in snapshot files, and whether they are whole, without knowing the types of their indexes.
//
//   inspect FILE…
//
// Ends with 0 if all are whole, 1 if one is not, 2 if it was called without a file.
#include <iqdb/persist.hpp>

#include <filesystem>
#include <iostream>
#include <optional>

namespace {

void print(const iqdb::FileHeader& header) {
  std::cout << "  format version  " << header.version << "\n"
            << "  index type      " << iqdb::printable(header.index_type) << "\n"
            << "  dimensions      " << header.dim << "\n"
            << "  metric          " << iqdb::to_string(header.metric) << "\n"
            << "  vectors         " << header.vectors << "\n";
}

bool inspect(const std::filesystem::path& path) {
  std::cout << path.string() << "\n";
  // The header by itself first: where the contents are damaged, it says at least what they were.
  std::optional<iqdb::FileHeader> header;
  try {
    header = iqdb::read_header(path);
    print(*header);
    const iqdb::SnapshotReport report = iqdb::verify_snapshot(path);
    std::cout << "  compression     " << to_string(report.scheme) << "\n"
              << "  payload         " << report.payload_bytes << " bytes\n"
              << "  file            " << report.file_bytes << " bytes\n"
              << "  checksum        " << iqdb::hexadecimal(header->crc32) << ": right\n";
    return true;
  } catch (const iqdb::PersistError& error) {
    if (header) {
      // The checksum covers what is behind the header only, so that the header itself may be the part that is damaged.
      std::cout << "  NOT WHOLE: the lines above are what the header says\n";
    }
    std::cerr << "inspect: " << error.what() << " [" << iqdb::to_string(error.kind()) << "]\n";
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: inspect FILE...\n";
    return 2;
  }
  bool all_are_whole = true;
  for (int i = 1; i < argc; ++i) {
    all_are_whole = inspect(argv[i]) && all_are_whole;
  }
  return all_are_whole ? 0 : 1;
}
