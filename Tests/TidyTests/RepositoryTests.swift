import Foundation
import Testing

/// The rules, applied to what is there.
@Suite("The repository keeps its own rules")
struct RepositoryTests {
    /// Judges every file under the folders that was not generated, and reports each violation by itself.
    private func check(_ folders: String..., by judge: (SourceFile) -> [Violation]) throws {
        for folder in folders {
            let files = try Repository.files(under: folder)
            try #require(!files.isEmpty, "no Swift files under \(folder): the rule would pass by looking at nothing")
            for file in files where !file.isGenerated {
                for violation in judge(file) { Issue.record("\(violation)") }
            }
        }
    }

    @Test("Imports follow the arrows between the folders")
    func imports() throws {
        try check("Sources", by: ImportRules.violations)
    }

    @Test("No file is longer than it can be read in one go")
    func length() throws {
        try check("Sources", "Tests", "Benchmarks", "Fuzz/Sources/Fuzzer", by: TextRules.length)
    }

    @Test("No link in the repository leads nowhere")
    func links() throws {
        let files = FileManager.default
        var found = 0
        for folder in ["Sources", "Tests", "Benchmarks", "Fuzz/Sources", "deploy", "samples", "scripts"] {
            let root = Repository.root.appending(path: folder)
            let names = try #require(files.enumerator(atPath: root.path)?.allObjects as? [String])
            for name in names {
                let path = root.appending(path: name).path
                guard try files.attributesOfItem(atPath: path)[.type] as? FileAttributeType == .typeSymbolicLink else {
                    continue
                }
                found += 1
                if !files.fileExists(atPath: path) { Issue.record("\(folder)/\(name) leads nowhere") }
            }
        }
        // Those of the package for fuzzing at least: a rule that looks at nothing passes.
        #expect(found > 3)
    }

    @Test("Nothing ends the process because the outside world misbehaved")
    func crashes() throws {
        try check("Sources", by: TextRules.crashes)
    }

    @Test("What only one file may do is done in that file")
    func soleWriters() throws {
        try check("Sources", by: TextRules.soleWriters)
    }

    @Test("The agent opens paths in one safe way")
    func opensPaths() throws {
        try check("Sources/EdgeAgent", by: TextRules.opensPaths)
    }

    @Test("The hub opens paths in one safe way")
    func hubOpensPaths() throws {
        try check("Sources/ControlHub", by: TextRules.hubOpensPaths)
    }

    @Test("No number from outside ends the process")
    func numbers() throws {
        let proto = Repository.root.appending(path: "Sources/WireFormat/Schema/node.proto")
        let fields = NumberRules.wholeNumberFields(of: try String(contentsOf: proto, encoding: .utf8))
        #expect(fields.count > 60 && fields.contains("receivedAtUnixMs"))
        try check("Sources") { NumberRules.violations(in: $0, fields: fields) }
        for path in NumberRules.byteArithmetic.keys {
            #expect(
                FileManager.default.fileExists(atPath: Repository.root.appending(path: path).path),
                "\(path) is gone"
            )
        }
    }

    @Test("Unstructured tasks and unchecked promises say why they are right")
    func unexplained() throws {
        try check("Sources", by: TextRules.unexplained)
    }

    @Test("Tests wait for events, not for time to pass")
    func sleeps() throws {
        // The rules' own tests quote what they look for.
        try check("Tests") { $0.path.contains("/TidyTests/") ? [] : TextRules.sleeps($0) }
    }

    @Test("Nothing called done is unfinished")
    func unfinished() throws {
        try check("Sources", "Tests", "Benchmarks", "Fuzz/Sources/Fuzzer", by: TextRules.unfinished)
    }
}
