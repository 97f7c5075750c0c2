import Glibc
import Synchronization
import WireFormat

/// Which files of a bot's workspace came from the hub: what an operator wrote, and all of a tree that was transferred.
///
/// ```
/// bots-control/<bot id>/from-hub/<inode of the workspace>     one line for each file: "<size> <nanoseconds of its time> <path>;"
/// ```
/// A file counts as the hub's for as long as it has the size and the time that were noted: what the bot writes itself is the bot's
/// own. A line is on the disk before its file is in place, so a crash leaves a line too many and never one too few. The list
/// goes by the workspace's inode, because a transferred tree takes the workspace's place in one exchange and goes back in another,
/// and its list with it.
struct HubProvenance: Sendable {
    /// Beyond this, and twice what it had when that was last done, the list is written anew, with each path once.
    private static let compactBytes: off_t = 1 << 20
    /// Begins a list that was written at once; its size follows.
    private static let mark = "#"
    private static let lock = Mutex(())

    private let directory: String

    init(_ bot: BotDirectory) {
        directory = bot.fromHub
    }

    /// Notes a file that is about to be put in place. When it returns the note is on disk.
    ///
    /// - Parameters:
    ///   - path: real, below the workspace.
    ///   - facts: of the file that gets the name.
    func note(_ path: [UInt8], _ facts: EntryFacts, in root: BeneathDirectory) throws(WorkspaceFailure) {
        try Self.exclusively { () throws(Files.Failure) in
            try Files.makeDirectory(directory, mode: 0o700)
            let list = list(of: root)
            let size = Self.size(list)
            if size > Self.compactBytes, size / 2 > Self.compactedSize(list) { try compact(list) }
            try Files.append(list, Array("\n".utf8) + Self.line(path, facts), mode: 0o600)
        }
    }

    /// Notes all a tree holds, which is about to be the workspace.
    func noteAll(in root: BeneathDirectory, maxEntries: Int) throws(WorkspaceFailure) {
        var lines: [UInt8] = []
        var cache = DigestCache(path: "/dev/null")
        let scanner = try TreeScanner(root, maxEntries: maxEntries)
        while let batch = try scanner.next(4096, cache: &cache) {
            for (entry, facts) in zip(batch.entries, batch.facts) where !facts.isDirectory {
                lines += Self.line(entry.path.bytes, facts) + [UInt8(ascii: "\n")]
            }
        }
        // What lies in a directory that cannot be listed can be run all the same.
        try scanner.requireAll()
        try Self.exclusively { () throws(Files.Failure) in
            try Files.makeDirectory(directory, mode: 0o700)
            try Files.replace(list(of: root), with: Self.marked(lines), mode: 0o600)
        }
    }

    /// Whether it is noted what of this tree came from the hub.
    func isNoted(_ root: BeneathDirectory) -> Bool { access(list(of: root), F_OK) == 0 }

    /// A tree is about to be deleted.
    func forget(_ root: BeneathDirectory) { unlink(list(of: root)) }

    /// A file that came from the hub and is still as it came, of those that are asked for.
    ///
    /// - Throws: where the list cannot be read: then nobody knows.
    func first(in root: BeneathDirectory, where isWanted: (String) -> Bool) throws(WorkspaceFailure) -> String? {
        for (path, size, time) in try notes(root) {
            let text = String(decoding: path, as: UTF8.self)
            guard isWanted(text), let place = WorkspacePath(path) else { continue }
            switch Self.look(place, in: root) {
            case .gone: continue
            case .there(let facts):
                guard !facts.isDirectory, facts.size == size, facts.modifiedNanoseconds == time else { continue }
                return text
            // What is closed to the agent need not be so to the program that is launched.
            case .closed: return text
            }
        }
        return nil
    }

    private enum Look { case gone, closed, there(EntryFacts) }

    private static func look(_ path: WorkspacePath, in root: BeneathDirectory) -> Look {
        do throws(WorkspaceFailure) {
            let parent = try root.place(path.parent)
            guard let facts = EntryFacts(parent.descriptor, path.nameText) else { throw WorkspaceFailure(path) }
            return .there(facts)
        } catch {
            return [.notFound, .notADirectory, .outside].contains(error.code) ? .gone : .closed
        }
    }

    // MARK: The list

    private func list(of root: BeneathDirectory) -> String {
        directory + "/" + (EntryFacts(root.descriptor).map { String($0.inode) } ?? "unknown")
    }

    private func notes(_ root: BeneathDirectory) throws(WorkspaceFailure) -> [([UInt8], UInt64, Int64)] {
        do {
            guard let bytes = try Files.read(list(of: root), atMost: .max) else { return [] }
            return bytes.split(separator: UInt8(ascii: "\n")).compactMap(Self.note)
        } catch {
            throw WorkspaceFailure(
                .unavailable,
                "what of the workspace came from the hub cannot be read: \(error.reason)"
            )
        }
    }

    private func compact(_ list: String) throws(Files.Failure) {
        var last: [ArraySlice<UInt8>: ArraySlice<UInt8>] = [:]
        for line in (try Files.read(list, atMost: .max) ?? []).split(separator: UInt8(ascii: "\n")) {
            let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
            if parts.count == 3, line.last == UInt8(ascii: ";") { last[parts[2]] = line }
        }
        try Files.replace(
            list,
            with: Self.marked(Array(last.values.joined(separator: [UInt8(ascii: "\n")]))),
            mode: 0o600
        )
    }

    private static func marked(_ lines: [UInt8]) -> [UInt8] { Array("\(mark)\(lines.count)\n".utf8) + lines }

    /// What the list had when it was last written at once; 0 where it never was.
    private static func compactedSize(_ list: String) -> off_t {
        let descriptor = RegularFile.open(list, O_RDONLY)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var head = [UInt8](repeating: 0, count: 24)
        let count = read(descriptor, &head, head.count)
        let line = head.prefix(max(0, count)).prefix { $0 != UInt8(ascii: "\n") }
        guard line.first == mark.utf8.first else { return 0 }
        return off_t(clamping: UInt64(decimal: String(decoding: line.dropFirst(), as: UTF8.self)) ?? 0)
    }

    private static func size(_ path: String) -> off_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_size : 0
    }

    private static func exclusively(_ body: () throws(Files.Failure) -> Void) throws(WorkspaceFailure) {
        let failure = lock.withLock { _ -> Files.Failure? in
            do throws(Files.Failure) {
                try body()
                return nil
            } catch {
                return error
            }
        }
        guard let failure else { return }
        throw WorkspaceFailure(errno: failure.code, .root)
    }

    // MARK: Lines

    /// Blanks, line ends, `%` and `;` of a path are written `%20`; the `;` at the end tells a whole line from one that a crash cut.
    private static func line(_ path: [UInt8], _ facts: EntryFacts) -> [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        var line = Array("\(facts.size) \(facts.modifiedNanoseconds) ".utf8)
        for byte in path {
            if byte <= 0x20 || byte == UInt8(ascii: "%") || byte == UInt8(ascii: ";") || byte == 0x7F {
                line += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            } else {
                line.append(byte)
            }
        }
        return line + [UInt8(ascii: ";")]
    }

    private static func note(_ line: ArraySlice<UInt8>) -> ([UInt8], UInt64, Int64)? {
        let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
        guard parts.count == 3, parts[2].last == UInt8(ascii: ";"),
            let size = UInt64(decimal: String(decoding: parts[0], as: UTF8.self)),
            // fits: a time of our own writing, which is only compared.
            let time = Int64(String(decoding: parts[1], as: UTF8.self))
        else { return nil }
        var path: [UInt8] = []
        var rest = parts[2].dropLast()
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                path.append(byte)
                continue
            }
            guard let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else { return nil }
            path.append(code)
            rest = rest.dropFirst(2)
        }
        return (path, size, time)
    }
}
