import CLinux
import Glibc

/// The small process that owns one launch of one bot: `edge-agent supervise <bot directory>`.
///
/// ```
/// lock ─► read launch.plan ─► spawn ─► capture ──exit of the bot──► sweep what it left ─► record, fsync, exit
///                                         └──SIGTERM──► steps of the stop sequence ─► SIGKILL ──────┘
/// ```
/// It survives the agent. What it writes into the bot's log is the record of what happened while nobody looked: the
/// exit status and the packets stand there in the order in which they came. It never stops reading the bot's output.
enum Supervisor {
    /// Runs one launch to its end. Call it first thing in the process: it closes every descriptor it does not know,
    /// and needs a process with a single thread.
    static func main(botDirectory: String) -> Never {
        CLinux_close_from(3)
        // Not the agent's: who ends "edge-agent" by name does not mean the bots.
        CLinux_set_thread_name("edge-supervise")
        let directory = BotDirectory.control(of: botDirectory)
        guard chdir(directory) == 0 else {
            fail("\(directory) cannot be entered: \(String(errno: errno))", status: 73)
        }
        let lock = RegularFile.open(SupervisorState.lockName, O_RDWR | O_CREAT)
        guard lock >= 0 else { fail("supervisor.lock cannot be opened: \(String(errno: errno))", status: 73) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            fail("another supervisor already runs the bot in \(botDirectory)", status: 75)
        }
        guard let plan = readPlan() else { fail("launch.plan is missing or damaged; start the bot again", status: 65) }
        var launch = SupervisedLaunch(plan: plan, directory: directory)
        launch.run()
        exit(0)
    }

    private static func readPlan() -> LaunchPlan? {
        (try? Files.read(LaunchPlan.fileName)).flatMap { LaunchPlan($0) }
    }

    private static func fail(_ message: String, status: Int32) -> Never {
        let line = Array("edge-agent supervise: \(message)\n".utf8)
        write(2, line, line.count)
        exit(status)
    }
}
