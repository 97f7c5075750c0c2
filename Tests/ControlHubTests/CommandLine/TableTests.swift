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
        "are no wider than the terminal: sentences are broken, names shortened, ids left whole",
        arguments: [40, 64, 80, 120]
    )
    func narrow(width: Int) {
        var table = Table(["id", "name", "since"], prose: "reason")
        let id = "cmd_01m8781pnr57ws2va16ap4set0"
        let name = String(repeating: "attic", count: 12)
        let reason = "attic-pc is not connected, so this waits until it is, or until it expires. Look at its page."
        table.add([.id(id), .text(name), .time("2025-12-31T23:59:10Z"), .text(reason)])
        table.add([.id(id), .text("b"), .time(nil), .text("")])
        let text = table.text(forTerminal: true, width: width, at: now)
        let lines = text.split(separator: "\n").map(String.init)
        // The id, the shortest name and the age take this.
        let least = id.count + 2 + 8 + 2 + 5
        #expect(lines.allSatisfy { $0.count <= max(width, least) }, "\(text)")
        #expect(lines.count { $0.hasPrefix(id) } == 2)
        let words = lines.dropFirst().joined(separator: " ").split(separator: " ").map(String.init)
        let wanted = reason.split(separator: " ").map(String.init)
        #expect(words.filter(wanted.contains) == wanted, "\(text)")
    }

    @Test("sentences stand beside what they are about where there is room, else below it")
    func prose() {
        var table = Table(["name"], prose: "reason")
        table.add([.text("kitchen"), .text("It is away, and nobody knows why it is")])
        #expect(
            table.text(forTerminal: true, width: 40, at: now)
                == "NAME     REASON\nkitchen  It is away, and nobody knows\n         why it is\n"
        )
        #expect(
            table.text(forTerminal: true, width: 30, at: now)
                == "NAME\nkitchen\n    It is away, and nobody knows\n    why it is\n"
        )
    }

    @Test("letters that take two columns are counted as two")
    func wide() {
        #expect(Printable.width("厨房-1") == 6)
        #expect(TableLayout.shortened("厨房の棚", to: 6) == "厨房…")
        var table = Table(["name", "bots"])
        table.add([.text("厨房"), .text("1")])
        table.add([.text("attic"), .text("2")])
        #expect(table.text(forTerminal: true, at: now) == "NAME   BOTS\n厨房   1\nattic  2\n")
    }

    @Test("values of one thing are broken under each other")
    func properties() {
        var properties = Properties()
        properties.add("name", "kitchen")
        properties.add("health reason", .string("No heartbeat has come for two minutes."))
        #expect(
            properties.text(forTerminal: true, width: 44)
                == "name           kitchen\nhealth reason  No heartbeat has come for two\n               minutes.\n"
        )
        #expect(properties.text(forTerminal: false).hasPrefix("name\tkitchen\n"))
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
        #expect(Printable.line(hostile) == #"a[2Jb31m\u{202E}c d e"#)
        #expect(Printable.line("ki\u{200B}tchen 👩\u{200D}💻") == #"ki\u{200B}tchen 👩"# + "\u{200D}💻")
        #expect(Printable.text(hostile, forTerminal: true) == "a[2Jb31mc\nd\te")
        #expect(Printable.text(hostile, forTerminal: false) == hostile)
        var properties = Properties()
        properties.add("profile \(hostile)", "usable")
        #expect(!properties.text(forTerminal: true).contains("\u{1B}"))
        #expect(properties.text(forTerminal: false) == "profile \(Printable.line(hostile))\tusable\n")
    }

    @Test("reach a terminal with our own colours and nothing else that steers")
    func lastCheck() {
        let own = "\r\u{1B}[K\u{1B}[1;31mdown\u{1B}[0m\tnow\n"
        #expect(Printable.terminal(own) == own)
        let hostile = "\u{1B}]0;title\u{7}\u{1B}[2J\u{1B}[31\u{0}\r\nx\u{202E}\u{1B}[999999999m\u{1B}"
        #expect(Printable.terminal(hostile) == "]0;title[2J[31\nx[999999999m")
    }

    @Test(
        "sizes are told as people read them",
        arguments: [(0.0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5e9, "4.7 GiB")]
    )
    func sizes(bytes: Double, text: String) {
        #expect(ByteCount.text(bytes) == text)
    }
}
