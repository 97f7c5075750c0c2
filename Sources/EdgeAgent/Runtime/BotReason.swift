/// Why a bot is in its phase, stable and machine-readable; `WireBotStatus.reasonCode`. The reason beside it says the same
/// in a sentence. docs/native-runtime.md lists them.
enum BotReason: String, Sendable, Codable {
    // starting
    case waitingForStart = "waiting_for_start"
    case notReady = "not_ready"
    case unwell
    case restartedItself = "restarted_itself"
    // backoff
    case exited
    case outOfMemory = "out_of_memory"
    case livenessFailed = "liveness_failed"
    case supervisorLost = "supervisor_lost"
    // backoff, and failed where somebody asked for the start
    case engineUnavailable = "engine_unavailable"
    case pullFailed = "pull_failed"
    case spawnFailed = "spawn_failed"
    case programUnavailable = "program_unavailable"
    case storageFailed = "storage_failed"
    case launchFailed = "launch_failed"
    // failed
    case crashLoop = "crash_loop"
    case setUpWrong = "set_up_wrong"
    case fatal
    case imageMissing = "image_missing"
    case pullRefused = "pull_refused"
    case notRestarted = "not_restarted"
    case recordLost = "record_lost"
    case filesMissing = "files_missing"
    case trialEnded = "trial_ended"
    case notEnded = "not_ended"
    // stopped
    case completed
}
