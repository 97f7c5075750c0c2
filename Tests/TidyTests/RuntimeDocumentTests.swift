import Foundation
import Testing

/// `docs/native-runtime.md` promises a test for each row, and lists every code.
@Suite struct RuntimeDocumentTests {
    private func text(_ path: String) throws -> String {
        try String(contentsOf: Repository.root.appending(path: path), encoding: .utf8)
    }

    @Test("Each test the document names exists")
    func testsExist() throws {
        let document = try text("docs/native-runtime.md")
        let named = document.matches(of: /`([A-Z][A-Za-z]+Tests)\/([A-Za-z]+)`/).map { ($0.output.1, $0.output.2) }
        #expect(named.count > 40)
        let files = try Repository.files(under: "Tests")
        for (suite, function) in named {
            let source = files.first { $0.path.hasSuffix("/\(suite).swift") }
            let isThere = source?.lines.contains { $0.contains("func \(function)(") } ?? false
            #expect(isThere, "\(suite)/\(function) is named and not there")
        }
        for match in document.matches(of: /`Tests\/Boot\/stories\/([a-z-]+)`/) {
            let story = Repository.root.appending(path: "Tests/Boot/stories/\(match.output.1).sh")
            #expect(FileManager.default.fileExists(atPath: story.path), "\(story.path) is named and not there")
        }
    }

    @Test("Each row of the promises names a test")
    func rowsNameTests() throws {
        let document = try text("docs/native-runtime.md")
        let begin = try #require(document.range(of: "## What holds")?.upperBound)
        let end = try #require(document.range(of: "## Why a bot")?.lowerBound)
        for row in document[begin..<end].split(separator: "\n") where row.hasPrefix("| ") {
            let isHead = row.hasPrefix("| promise") || row.hasPrefix("| mistake") || row.hasPrefix("| ---")
            #expect(isHead || row.contains("Tests/"), "no test in: \(row)")
        }
    }

    @Test("Each code of a reason and of a problem is explained")
    func codesExplained() throws {
        let document = try text("docs/native-runtime.md")
        for file in ["BotReason", "BotProblem"] {
            let source = try text("Sources/EdgeAgent/Runtime/\(file).swift")
            for match in source.matches(of: /case ([a-zA-Z]+)(?: = "([a-z_]+)")?\n/) {
                let code = match.output.2 ?? match.output.1
                #expect(document.contains("`\(code)`"), "\(code) is not explained")
            }
        }
    }
}
