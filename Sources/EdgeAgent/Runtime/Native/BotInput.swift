import CLinux
import Glibc

/// Writes lines to the standard input of bots that take their messages there: a FIFO in the bot's directory, which the bot
/// holds open at both ends, so that it never sees an end of file and a new agent can go on writing.
///
/// One line at a time goes to a launch. Where the bot does not read, a line may be cut off by the time limit; the next one
/// then begins with an end of line, so that the bot meets a broken line and not two in one.
actor BotInput {
    /// How long to wait for room in the pipe before looking again.
    private static let pause = Duration.milliseconds(10)
    /// A whole message, so that one that is taken at all is mostly taken at once. The default of Linux is 64 KiB.
    private static let pipeBytes: Int32 = 1 << 20

    private var isWriting: Set<String> = []
    /// Launches whose input may end in the middle of a line.
    private var torn: Set<String> = []

    /// An earlier agent may have died while it wrote.
    func adopted(_ launchID: String) {
        torn.insert(launchID)
    }

    /// - Parameter line: without its end.
    /// - Throws: `notConnected` where the bot certainly did not get the line.
    func write(_ line: [UInt8], to path: String, launchID: String, timeout: Duration) async throws(BotChatError) {
        let deadline = ContinuousClock.now + timeout
        while !isWriting.insert(launchID).inserted {
            guard ContinuousClock.now < deadline, (try? await Task.sleep(for: Self.pause)) != nil else {
                throw .notConnected("it does not read its standard input")
            }
        }
        defer { isWriting.remove(launchID) }
        let descriptor = RegularFile.openFIFO(path, O_WRONLY)
        guard descriptor >= 0 else {
            throw .notConnected(errno == ENXIO ? "it has closed its standard input" : String(errno: errno))
        }
        defer { close(descriptor) }
        // Refused by a lower limit of the system: then a long line takes several rounds.
        _ = CLinux_set_pipe_size(descriptor, Self.pipeBytes)
        let content = (torn.contains(launchID) ? [UInt8(ascii: "\n")] : []) + line + [UInt8(ascii: "\n")]
        var rest = content[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written > 0 {
                rest = rest.dropFirst(written)
                torn.insert(launchID)
            } else if errno == EAGAIN {
                guard ContinuousClock.now < deadline, (try? await Task.sleep(for: Self.pause)) != nil else {
                    throw .notConnected("it does not read its standard input")
                }
            } else if errno != EINTR {
                throw .notConnected(String(errno: errno))
            }
        }
        torn.remove(launchID)
    }
}
