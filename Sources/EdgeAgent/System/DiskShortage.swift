import Glibc
import WireFormat

/// What a file system has none left of. "No space" is what the kernel says of either.
enum DiskShortage: Sendable, Equatable {
    case space
    /// A file system may be nearly empty and take no more files.
    case files

    /// Fewer and neither a launch nor a replaced file is sure to find one.
    static let neededFiles: UInt64 = 16

    /// What is short where nothing new could be written at `path`, which need not exist.
    static func found(at path: String) -> DiskShortage {
        var place = Substring(path)
        while true {
            var values = statvfs()
            if statvfs(place.isEmpty ? "/" : String(place), &values) == 0 {
                return hasNoFiles(values) ? .files : .space
            }
            guard let slash = place.lastIndex(of: "/") else { return .space }
            place = place[..<slash]
        }
    }

    /// Whether the file system takes no more files. One that makes room for them as it goes counts none.
    static func hasNoFiles(_ values: statvfs) -> Bool {
        values.f_files > 0 && UInt64(clamping: values.f_favail) < neededFiles
    }

    /// What to do about it.
    func advice(_ path: String) -> String {
        switch self {
        case .space: "free some space on the file system that holds \(path)"
        case .files:
            "the file system that holds \(path) has no inodes left, however much space is free: delete files there "
                + "(df -i shows how many it takes)"
        }
    }
}
