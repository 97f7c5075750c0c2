import Foundation

/// Which TCP ports a process listens on, read from `/proc` as `ss -ltnp` does.
enum Sockets {
    static func listening(_ pid: pid_t) throws -> [String] {
        let inodes = Set(try descriptors(pid).compactMap(socketInode))
        var addresses: [String] = []
        for table in ["tcp", "tcp6"] {
            let text = try String(contentsOfFile: "/proc/\(pid)/net/\(table)", encoding: .utf8)
            for line in text.split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ").map(String.init)
                // Local address, remote address, state (0A is LISTEN) and inode are fields 1, 2, 3 and 9.
                guard fields.count > 9, fields[3] == "0A", inodes.contains(fields[9]) else { continue }
                addresses.append(fields[1])
            }
        }
        return addresses
    }

    private static func descriptors(_ pid: pid_t) throws -> [String] {
        let folder = "/proc/\(pid)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).compactMap {
            // A descriptor that was closed since the listing is no socket we look for.
            try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
        }
    }

    private static func socketInode(_ target: String) -> String? {
        guard target.hasPrefix("socket:["), target.hasSuffix("]") else { return nil }
        return String(target.dropFirst(8).dropLast())
    }
}
