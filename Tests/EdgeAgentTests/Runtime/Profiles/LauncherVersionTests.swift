import Testing

@testable import EdgeAgent

@Suite("A launcher's version")
struct LauncherVersionTests {
    @Test("is ordered as Python orders versions")
    func order() throws {
        let inOrder = [
            "0.1.3.post7", "0.1.4.dev1", "0.1.4a2", "0.1.4b1", "0.1.4rc1", "0.1.4", "0.1.4.post2", "0.1.4.post5",
            "0.1.4.post10", "0.1.5", "0.2", "0.10.0", "1.0",
        ]
        let versions = try inOrder.map { try #require(LauncherVersion($0)) }
        #expect(versions.shuffled().sorted().map(\.text) == inOrder)
        #expect(LauncherVersion("1.0") == LauncherVersion("v1.0.0"))
    }

    @Test(
        "is found in what a program says of itself",
        arguments: [
            ("🐈 nanobot v0.1.4.post5\n", "0.1.4.post5"), ("nanobot 9.9.9 (python 3.11)", "9.9.9"),
            ("nanobot, version 1.2", "1.2"), ("v2.0", "2.0"),
        ]
    )
    func find(output: String, expected: String) {
        #expect(LauncherVersion.find(in: output)?.text == expected)
    }

    @Test(
        "is nothing where there is none",
        arguments: ["", "nanobot", "command not found", "v", "...", "99999999999999999999999.1"]
    )
    func none(output: String) {
        #expect(LauncherVersion.find(in: output) == nil)
    }
}
