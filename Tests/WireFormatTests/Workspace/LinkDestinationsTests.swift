import Testing
import WireFormat

@Suite("Where links of a tree lead")
struct LinkDestinationsTests {
    private func path(_ text: String) throws -> WorkspacePath { try #require(WorkspacePath(text.utf8)) }

    /// A tree of links, by path and text.
    private func destinations(_ links: [String: String]) throws -> LinkDestinations {
        LinkDestinations(try links.map { ManifestEntry(path: try path($0), kind: .symlink(Array($1.utf8))) })
    }

    private func lead(_ place: String, _ text: String, among links: [String: String] = [:]) throws -> String {
        var destinations = try destinations(links)
        return switch destinations.destination(of: try path(place), text: Array(text.utf8)) {
        case .inside: "inside"
        case .outside(let way): String(decoding: way, as: UTF8.self)
        }
    }

    @Test(
        "Inside is what never leaves, whatever is there",
        arguments: [
            ("l", "a"), ("l", "a/b/"), ("d/l", "../a"), ("l", "."), ("d/l", ".."), ("l", "a/../b"),
            ("d/l", "../x/./../y"),
            ("d/e/l", "../../a/b/../../c"), ("l", "l"), ("l", "none/../there"),
        ]
    )
    func inside(place: String, text: String) throws {
        #expect(try lead(place, text) == "inside")
    }

    @Test(
        "Outside is what leaves, and by which way",
        arguments: [
            ("l", "/etc/passwd"), ("l", ".."), ("d/l", "../../x"), ("l", "a/../../x"), ("d/l", "../a/../../x"),
            ("l", "/"),
        ]
    )
    func outside(place: String, text: String) throws {
        #expect(try lead(place, text) == text)
    }

    @Test("A link in the middle, behind which a text goes up, is followed")
    func middle() throws {
        #expect(try lead("l", "a/../b", among: ["a": "deep/er/still"]) == "inside")
        #expect(try lead("l", "a/../../b", among: ["a": "deep/er/still"]) == "inside")
        #expect(try lead("l", "a/../../../b", among: ["a": "deep/er"]) == "a/../../../b")
        #expect(try lead("l", "a/../b", among: ["a": "/usr/lib"]) == "/usr/lib/../b")
        #expect(try lead("l", "a/x/../../b", among: ["a": "/usr/lib"]) == "/usr/lib/x/../../b")
        #expect(try lead("l", "a/../b", among: ["a": "c", "c": "/usr"]) == "/usr/../b")
        #expect(try lead("l", "a/x/../b", among: ["a": "c", "c": "/usr"]) == "/usr/x/../b")
        // Round in circles nobody gets anywhere.
        #expect(try lead("l", "a/../../x", among: ["a": "b/y", "b": "a/z"]) == "a/../../x")
        // Without going up again it is the other link that leads out, and is judged for that.
        #expect(try lead("l", "a/b", among: ["a": "/etc"]) == "inside")
    }

    @Test("A tree of links that lead through each other for ever takes no longer than it may", .timeLimit(.minutes(1)))
    func bounded() throws {
        let long = [String](repeating: "d/..", count: 900).joined(separator: "/")
        var links: [String: String] = [:]
        for index in 0..<2_000 { links["l\(index)"] = "l\((index + 1) % 2_000)/\(long)" }
        var destinations = try destinations(links)
        var outside = 0
        for index in 0..<2_000 {
            let text = Array((links["l\(index)"] ?? "").utf8)
            if destinations.destination(of: try path("l\(index)"), text: text) != .inside { outside += 1 }
        }
        #expect(outside == 2_000)
    }

    @Test(
        "An absolute link to something in the workspace becomes a relative one",
        arguments: [
            ("l", "/srv/bots/a/workspace/x/y", "x/y"), ("d/e/l", "/srv/bots/a/workspace/x", "../../x"),
            ("l", "/srv/bots/a/workspace", "."), ("d/l", "/srv/bots/a/workspace/", ".."),
            ("l", "/srv//bots/./a/workspace/x", "x"), ("l", "/srv/bots/a/workspace2/x", nil),
            ("l", "/srv/bots/a", nil), ("l", "/srv/bots/a/workspace/../x", nil), ("l", "srv/bots/a/workspace/x", nil),
            ("l", "/usr/bin/python3", nil),
        ] as [(String, String, String?)]
    )
    func relative(place: String, text: String, expected: String?) throws {
        let found = try path(place).relativeLink(Array(text.utf8), workspace: Array("/srv/bots/a/workspace".utf8))
        #expect(found.map { String(decoding: $0, as: UTF8.self) } == expected)
    }
}
