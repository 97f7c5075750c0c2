import Foundation
import Testing

@testable import ControlHub

@Suite("Tables of the command line")
struct TableTests {
    private let now = Date(unixMilliseconds: 1_767_225_600_000)

    private var table: Table {
        var table = Table(["name", "since", "reason"])
        table.add([.text("kitchen"), .time("2025-12-31T23:59:10Z"), .text("Heartbeats\tarrive.\nReally")])
        table.add([.text("a"), .time(nil), .text("")])
        return table
    }

    @Test("stand side by side on a terminal, with ages")
    func terminal() {
        #expect(
            table.text(forTerminal: true, at: now)
                == "NAME     SINCE  REASON\nkitchen  50 s   Heartbeats arrive. Really\na\n"
        )
    }

    @Test("are tab-separated in a pipe, with whole times and no heading")
    func pipe() {
        #expect(
            table.text(forTerminal: false, at: now)
                == "kitchen\t2025-12-31T23:59:10Z\tHeartbeats arrive. Really\na\t\t\n"
        )
    }

    @Test(
        "tell ages in the unit that is worth reading",
        arguments: [
            (0, "0 s"), (99, "99 s"), (100, "1 min"), (5999, "99 min"), (6000, "1 h"), (172_800, "2 d"), (-5, "0 s"),
        ]
    )
    func ages(seconds: Int, text: String) {
        #expect(Table.age(TimeInterval(seconds)) == text)
    }

    @Test("let no name of a node or line of a bot steer the terminal")
    func control() {
        let hostile = "a\u{1B}[2J\u{7}b\u{9B}31m\u{202E}c\r\nd\te"
        #expect(Printable.line(hostile) == "a[2Jb31mc d e")
        #expect(Printable.text(hostile, forTerminal: true) == "a[2Jb31mc\nd\te")
        #expect(Printable.text(hostile, forTerminal: false) == hostile)
    }

    @Test(
        "sizes are told as people read them",
        arguments: [(0.0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5e9, "4.7 GiB")]
    )
    func sizes(bytes: Double, text: String) {
        #expect(ByteCount.text(bytes) == text)
    }
}
