import Testing

/// Each rule finds what it is there to find, and nothing else.
@Suite("The rules can fail")
struct RuleTests {
    private func file(_ path: String, _ text: String) -> SourceFile { SourceFile(path: path, text: text) }

    @Test(
        "An import against the arrows is found",
        arguments: [
            ("Sources/EdgeAgent/Link/A.swift", "import Foundation"),
            ("Sources/EdgeAgent/Link/A.swift", "public import struct Foundation.URL"),
            ("Sources/EdgeAgent/Link/A.swift", "import NIOCore"),
            ("Sources/EdgeAgent/Link/A.swift", "import GRDB"),
            ("Sources/EdgeAgent/Link/A.swift", "import COpenSSL"),
            ("Sources/EdgeAgent/Link/A.swift", "import CSQLite"),
            ("Sources/EdgeAgent/Link/A.swift", "@testable import ControlHub"),
            ("Sources/WireFormat/A.swift", "import FoundationEssentials"),
            ("Sources/WireFormat/A.swift", "import WebSocketKitLite"),
            ("Sources/ServiceReport/A.swift", "import Foundation"),
            ("Sources/WebSocketKit-Lite/Codec/A.swift", "import COpenSSL"),
            ("Sources/WebSocketKit-Lite/TLS/A.swift", "import CZlib"),
            ("Sources/WebSocketKit-Lite/Codec/A.swift", "import WireFormat"),
            ("Sources/ControlHub/Nodes/A.swift", "internal import EdgeAgent"),
            ("Sources/ControlHub/Nodes/NodeOperations.swift", "import GRDB"),
            ("Sources/ControlHub/Nodes/A.swift", "import HummingbirdCore"),
        ]
    )
    func badImport(path: String, text: String) {
        #expect(!ImportRules.violations(in: file(path, "\n" + text + "\n")).isEmpty)
    }

    @Test(
        "An import along the arrows is left alone",
        arguments: [
            ("Sources/EdgeAgent/Link/A.swift", "import FoundationEssentials"),
            ("Sources/EdgeAgent/Link/A.swift", "import WebSocketKitLite"),
            ("Sources/EdgeAgent/Journal/A.swift", "import CSQLite"),
            ("Sources/WebSocketKit-Lite/TLS/A.swift", "import COpenSSL"),
            ("Sources/WebSocketKit-Lite/Deflate/A.swift", "import CZlib"),
            ("Sources/WireFormat/A.swift", "public import SwiftProtobuf"),
            ("Sources/ControlHub/Nodes/NodeStore.swift", "import GRDB"),
            ("Sources/ControlHub/Store/A.swift", "import GRDB"),
            ("Sources/ControlHub/HTTP/API/A.swift", "import Hummingbird"),
            ("Sources/ControlHub/Nodes/A.swift", "// import EdgeAgent"),
            ("Tests/EndToEndTests/A.swift", "@testable import EdgeAgent"),
        ]
    )
    func goodImport(path: String, text: String) {
        #expect(ImportRules.violations(in: file(path, text)) == [])
    }

    @Test("A violation names the file, the line and the module")
    func message() {
        let found = ImportRules.violations(in: file("Sources/WireFormat/A.swift", "\n\nimport Foundation"))
        let expected = "Sources/WireFormat/A.swift:3: imports Foundation: the node protocol is pure"
        #expect(found.map(\.description) == [expected])
    }

    @Test("The line after the longest allowed is found; a final newline is not a line")
    func length() {
        let longest = String(repeating: "x\n", count: TextRules.mostLines)
        #expect(TextRules.length(file("A.swift", longest)) == [])
        #expect(!TextRules.length(file("A.swift", longest + "x")).isEmpty)
    }

    @Test("What ends the process is found", arguments: ["let a = try! b()", "fatalError(\"no\")", "(a as! B).c()"])
    func crash(text: String) {
        #expect(TextRules.crashes(file("A.swift", text)).map(\.line) == [1])
    }

    @Test(
        "Prose and look-alikes do not end the process",
        arguments: ["// never try! here", "let a = \"fatalError(\"", "a.myfatalError()", "if has! {}"]
    )
    func noCrash(text: String) {
        #expect(TextRules.crashes(file("A.swift", text)) == [])
    }

    @Test(
        "An unexplained construct is found",
        arguments: [
            "Task {", "    let a = Task { await b() }", "Task(priority: .high) {", "Task.detached {",
            "_ = Task<Void, Never> {",
            "final class A: @unchecked Sendable {", "nonisolated(unsafe) var a = 1",
            "// a reason, but too far away\n\nTask {",
        ]
    )
    func unexplained(text: String) {
        #expect(TextRules.unexplained(file("A.swift", text)).count == 1)
    }

    @Test(
        "A reason above or beside is enough, and a type is no task",
        arguments: [
            "// Bridges the signal handler.\nTask {", "Task {  // ends with the loop",
            "/// Guarded by the lock.\n@usableFromInline\nnonisolated(unsafe) var a = 1",
            "let task: Task<Void, Never>", "func run(_ task: Task<Void, Never>) {", "withTaskGroup { group in",
            "group.addTask { await a() }", "try Task.checkCancellation()", "myTask {",
        ]
    )
    func explained(text: String) {
        #expect(TextRules.unexplained(file("A.swift", text)) == [])
    }

    @Test(
        "A sleep is found unless it says why",
        arguments: ["Thread.sleep(1)", "usleep(5)", "try await Task.sleep(for: a)"]
    )
    func sleeps(text: String) {
        #expect(TextRules.sleeps(file("A.swift", text)).count == 1)
        #expect(TextRules.sleeps(file("A.swift", text + "  // allow-sleep: the pause is the subject")) == [])
        #expect(TextRules.sleeps(file("A.swift", "// allow-sleep: polls another process\n" + text)) == [])
        #expect(TextRules.sleeps(file("A.swift", text + "  // allow-sleep")).count == 1)
    }

    @Test("Unfinished work is found")
    func unfinished() {
        #expect(TextRules.unfinished(file("A.swift", "// TO" + "DO: later")).map(\.line) == [1])
        #expect(TextRules.unfinished(file("A.swift", "// the to-do list")) == [])
    }

    @Test("A second place that hands on controllers is found")
    func soleWriters() {
        let line = #"PseudoFile.write(group + "/cgroup.subtree_control", "+cpu")"#
        #expect(TextRules.soleWriters(file("Sources/EdgeAgent/Runtime/A.swift", line)).count == 1)
        #expect(TextRules.soleWriters(file("Sources/EdgeAgent/Runtime/Limits/ControlGroup.swift", line)) == [])
    }

    @Test(
        "A second reader of times is found",
        arguments: ["try Date(text, strategy: .iso8601)", "let at = timegm(&parts)", "ISO8601DateFormatter()"]
    )
    func soleReaders(line: String) {
        #expect(TextRules.soleWriters(file("Sources/ControlHub/HTTP/A.swift", line)).count == 1)
    }

    @Test(
        "A path that is opened by the way is found",
        arguments: [
            "let file = open(path, O_RDONLY | O_CLOEXEC)", "let file = Glibc.open(path, O_RDONLY)",
            "let file = openat(\n    folder,\n    name,\n    O_RDWR\n)",
            "guard let file = fopen(path, mode) else { return }",
        ]
    )
    func opensPaths(text: String) {
        #expect(TextRules.opensPaths(file("Sources/EdgeAgent/Runtime/A.swift", text)).count == 1)
        #expect(TextRules.opensPaths(file("Sources/EdgeAgent/System/PseudoFile.swift", text)) == [])
    }

    @Test(
        "The hub opens no path by itself",
        arguments: [
            "let data = FileManager.default.contents(atPath: path)", "let file = Glibc.open(path, O_RDONLY)",
            "unlink(path)",
            "guard rename(temporary, target) == 0 else { return }",
            "let data = try Data(contentsOf: URL(fileURLWithPath: path))",
        ]
    )
    func hubOpensPaths(text: String) {
        #expect(TextRules.hubOpensPaths(file("Sources/ControlHub/Logs/A.swift", text)).count == 1)
        #expect(TextRules.hubOpensPaths(file("Sources/ControlHub/Store/HubFolder.swift", text)) == [])
        let safe =
            "let file = try files.open(name, O_RDONLY)\ntry folder.rename(one, to: two)\nlet parts = try common.open()"
        #expect(TextRules.hubOpensPaths(file("Sources/ControlHub/Logs/A.swift", safe)) == [])
    }

    @Test(
        "Methods and the safe way are left alone",
        arguments: [
            "let file = RegularFile.open(path, O_RDONLY)", "func open(_ flags: Int32 = O_RDONLY) {}",
            "let file = try open(bot)",
        ]
    )
    func opensSafely(text: String) {
        #expect(TextRules.opensPaths(file("Sources/EdgeAgent/Runtime/A.swift", text)) == [])
    }
}
