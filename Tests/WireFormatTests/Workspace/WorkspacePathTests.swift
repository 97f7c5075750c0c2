import TestSupport
import Testing
import WireFormat

@Suite("Paths of a workspace")
struct WorkspacePathTests {
    @Test(
        "what could lead elsewhere or nowhere is no path",
        arguments: [
            "..", ".", "a/..", "../a", "a//b", "/a", "a/", "a/./b", "a\0b", "a/../../b",
            String(repeating: "x", count: 256),
        ]
    )
    func refused(text: String) {
        #expect(WorkspacePath(text.utf8) == nil)
    }

    @Test(
        "names of any bytes but slash and zero are paths",
        arguments: ["a", "a b", "a\nb", "...", "..a", "a/.b/c", "-", "%2e"]
    )
    func accepted(text: String) throws {
        let path = try #require(WorkspacePath(text.utf8))
        #expect(path.bytes == Array(text.utf8))
        #expect(WorkspacePath([0xFF, 0xFE, 0x2F, 0x80]) != nil)
    }

    @Test("a directory comes before what it holds, and that before its next sibling")
    func order() throws {
        let sorted = try ["a", "a/b", "a/b/c", "a/c", "a b", "a-b", "b"].map { try #require(WorkspacePath($0.utf8)) }
        var random = SeededRandom(seed: 1)
        for _ in 0..<20 { #expect(sorted.shuffled(using: &random).sorted() == sorted) }
    }

    @Test(
        "a link is kept where it stays inside whatever else is there",
        arguments: [
            ("a", "b", true), ("a/b", "../c", true), ("a/b", "c/d", true), ("a/b/c", "../../x", true),
            ("a", "./b", true),
            ("a", "/etc/passwd", false), ("a", "../b", false), ("a/b", "../../c", false), ("a/b", "c/../../..", false),
            // The name may be a link itself, and `..` then leads out of where that leads.
            ("a/b", "c/../d", false), ("a", "", false), ("a", "b\0", false),
        ]
    )
    func links(place: String, text: String, isKept: Bool) throws {
        #expect(try #require(WorkspacePath(place.utf8)).keepsInside(link: Array(text.utf8)) == isKept)
    }
}
