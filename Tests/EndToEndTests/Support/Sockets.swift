import Foundation

/// Which TCP ports a process listens on, read from `/proc` as `ss -ltnp` does.
enum Sockets {
    static func listening(_ pid: pid_t) throws -> [String] {
        let inodes = Set(try descriptors(pid).compactMap(socketInode))
        return try ["tcp", "tcp6"].flatMap { table in
            try String(contentsOfFile: "/proc/\(pid)/net/\(table)", encoding: .utf8)
                .split(separator: "\n").dropFirst()
                .map { $0.split(separator: " ", omittingEmptySubsequences: true) }
                .filter { $0.count > 9 && $0[3] == "0A" && inodes.contains(String($0[9])) }
                .map { String($0[1]) }
        }
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

    /// The processes whose parent is `pid`, and theirs.
    static func descendants(of pid: pid_t) throws -> [pid_t] {
        var parents: [pid_t: pid_t] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
            guard let child = pid_t(name),
                let stat = try? String(contentsOfFile: "/proc/\(child)/stat", encoding: .utf8),  // ended meanwhile
                let afterName = stat.range(of: ") ", options: .backwards)
            else { continue }
            parents[child] = pid_t(stat[afterName.upperBound...].split(separator: " ")[1])
        }
        var found: [pid_t] = []
        var generation: Set<pid_t> = [pid]
        while !generation.isEmpty {
            generation = Set(parents.filter { generation.contains($0.value) }.keys)
            found += generation
        }
        return found
    }
}
