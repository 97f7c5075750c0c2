import Foundation

/// A Swift file of this repository, as the rules see it.
struct SourceFile: Sendable {
    /// Relative to the repository, for instance `Sources/EdgeAgent/Link/Session.swift`.
    var path: String
    var lines: [Substring]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    var isGenerated: Bool { path.hasSuffix(".pb.swift") }

    /// The modules imported, with the line each import stands on (from 1).
    var imports: [(module: String, line: Int)] {
        lines.enumerated().compactMap { index, line in
            // Nearly all lines are out at their first byte.
            guard let first = line.utf8.first, Self.firstBytes.contains(first) else { return nil }
            var words = line.split(separator: " ")
            while let first = words.first, first.hasPrefix("@") || Self.modifiers.contains(String(first)) {
                words.removeFirst()
            }
            guard words.first == "import", words.count > 1 else { return nil }
            words.removeFirst()
            // `import struct Foundation.URL` names the kind first.
            if words.count > 1, Self.kinds.contains(String(words[0])) { words.removeFirst() }
            return (String(words[0].prefix { $0 != "." }), index + 1)
        }
    }

    private static let firstBytes = Set("@ipf".utf8)
    private static let modifiers: Set = ["public", "package", "internal", "fileprivate", "private"]
    private static let kinds: Set = ["struct", "class", "enum", "protocol", "typealias", "func", "var", "let", "actor"]

    /// The line without comment and without what stands between quotes, so that prose is not taken for code.
    static func code(of line: Substring) -> String {
        let isPlain = !line.utf8.contains { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "/") }
        if isPlain { return String(line) }
        var code = ""
        var isQuoted = false
        var previous: Character?
        for character in line {
            if character == "\"", previous != "\\" {
                isQuoted.toggle()
            } else if !isQuoted {
                if character == "/", previous == "/" { return String(code.dropLast()) }
                code.append(character)
            }
            previous = previous == "\\" && character == "\\" ? nil : character
        }
        return code
    }
}

/// A broken rule: which, where, and what to do.
struct Violation: Equatable, CustomStringConvertible, Sendable {
    var path: String
    var line: Int
    var message: String

    var description: String { "\(path):\(line): \(message)" }
}

/// The repository this test was compiled from.
enum Repository {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Every Swift file under the folder, in order of path.
    static func files(under folder: String) throws -> [SourceFile] {
        let base = root.appending(path: folder).resolvingSymlinksInPath()
        // What a build leaves in a package's .build is not ours.
        let found = FileManager.default.enumerator(
            at: base,
            includingPropertiesForKeys: nil,
            options: .skipsHiddenFiles
        )
        var files: [SourceFile] = []
        while let url = found?.nextObject() as? URL {
            guard url.pathExtension == "swift" else { continue }
            let path = folder + url.resolvingSymlinksInPath().path.dropFirst(base.path.count)
            files.append(SourceFile(path: path, text: try String(contentsOf: url, encoding: .utf8)))
        }
        return files.sorted { $0.path < $1.path }
    }
}
