import Foundation
import Glibc

@testable import EdgeAgent

/// What a workspace holds, found out without what is tested.
struct WorkspaceListing: Equatable {
    /// What of an entry has to come along.
    struct Entry: Hashable, CustomStringConvertible {
        /// d, f, l, or s for what is nothing outside of its machine.
        let kind: Character
        var mode: mode_t = 0
        /// Of a file, and its time.
        var content = Data()
        var second = 0
        /// Of a link, as it is carried: relative where it leads to something in the workspace by the workspace's own path.
        var text = ""

        var description: String {
            "\(kind) \(String(mode, radix: 8)) \(content.count) bytes of \(second) \(text)"
        }
    }

    private(set) var entries: [String: Entry] = [:]

    init(_ place: String) {
        walk(place, "", place)
    }

    private mutating func walk(_ directory: String, _ prefix: String, _ place: String) {
        for name in Self.names(directory) {
            let (path, shown) = (directory + "/" + name, prefix + name)
            guard let facts = Self.facts(path) else { continue }
            let mode = mode_t(facts.permissions)
            if facts.isDirectory {
                entries[shown] = Entry(kind: "d", mode: mode)
                Self.opened(path, facts) { walk(path, shown + "/", place) }
            } else if facts.isSymlink {
                entries[shown] = Entry(kind: "l", text: Self.carried(Self.linkText(path), from: shown, place))
            } else if facts.isFile {
                var entry = Entry(kind: "f", mode: mode, second: Int(facts.modifiedNanoseconds / 1_000_000_000))
                Self.opened(path, facts) { entry.content = FileManager.default.contents(atPath: path) ?? Data() }
                entries[shown] = entry
            } else {
                entries[shown] = Entry(kind: "s")
            }
        }
    }

    private static func carried(_ text: String, from path: String, _ place: String) -> String {
        guard text.hasPrefix(place + "/") else { return text }
        let depth = path.split(separator: "/").count - 1
        return String(repeating: "../", count: depth) + text.dropFirst(place.count + 1)
    }

    static func names(_ directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    static func linkText(_ path: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &buffer, buffer.count)
        return String(decoding: buffer[..<max(0, count)].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Where the tests are not run by root, what is closed to them is opened for a moment.
    static func opened(_ path: String, _ facts: EntryFacts, _ body: () -> Void) {
        let needed: UInt32 = facts.isDirectory ? 0o500 : 0o400
        let isClosed = geteuid() != 0 && facts.permissions & needed != needed
        if isClosed { chmod(path, mode_t(facts.permissions) | 0o700) }
        body()
        if isClosed { chmod(path, mode_t(facts.permissions)) }
    }

    static func facts(_ path: String) -> EntryFacts? { EntryFacts(AT_FDCWD, Array(path.utf8CString)) }
}
