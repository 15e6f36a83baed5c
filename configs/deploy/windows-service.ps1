# The DICOM node (or, with -Worker, workers of a shared queue) as a Windows service, by Shawl: it answers the service
# manager, and gives the program Ctrl-C and time to end. Run as administrator, once; again after -Remove.
#
#   winget install -e --id mtkennerly.shawl
#   py -3.12 -m venv C:\contour\venv ; C:\contour\venv\Scripts\pip install "contour[serve]"
#   .\windows-service.ps1 -Settings C:\contour\node.yaml
#
# The account is the service's own virtual one: it has no password, and no rights but those given here. Folders on other
# machines see the account of this machine; for those give -Account DOMAIN\contour$ (a managed service account).

[CmdletBinding()]
param(
    [string] $Name = "contour-node",
    [string] $Home_ = "C:\ProgramData\contour",
    [string] $Program = "C:\contour\venv\Scripts\contour.exe",
    [string] $Settings = "C:\contour\node.yaml",
    [string] $Account = "NT SERVICE\$Name",
    [string] $Shawl = "shawl.exe",
    [string] $Queue = "",
    [switch] $Worker,
    [switch] $Remove
)

$ErrorActionPreference = "Stop"

function Invoke-Native {
    # A program of Windows says by its exit code alone that it failed.
    param([string] $File, [string[]] $Arguments)
    & $File @Arguments
    if ($LASTEXITCODE -ne 0) { throw "$File $($Arguments -join ' ') ended with $LASTEXITCODE" }
}

if ($Remove) {
    Stop-Service -Name $Name -ErrorAction SilentlyContinue
    Invoke-Native sc.exe @("delete", $Name)
    return
}

foreach ($file in @($Program, $Settings)) {
    if (-not (Test-Path -LiteralPath $file -PathType Leaf)) { throw "$file is not there" }
}
Invoke-Native $Program @("node", "check", $Settings)

# What is drawn and kept is the service's and the administrators' alone.
New-Item -ItemType Directory -Force -Path $Home_, "$Home_\log" | Out-Null

$command = if ($Worker) { @($Program, "worker", "--node", $Settings) } else { @($Program, "node", "run", $Settings) }
$shawlArguments = @(
    "add", "--name", $Name, "--cwd", $Home_, "--log-dir", "$Home_\log",
    "--stop-timeout", "120000",   # ms: what is drawn is put back, and what is being sent may end
    "--pass", "0,130",            # a worker that was told to end answers 130
    "--restart",
    "--env", "MPLCONFIGDIR=$Home_\cache", "--env", "CONTOUR_SLOTS=$Home_\slots", "--env", "PYTHONUTF8=1"
)
if ($Queue) { $shawlArguments += @("--env", "CONTOUR_QUEUE=$Queue") }
Invoke-Native $Shawl ($shawlArguments + @("--") + $command)

Invoke-Native sc.exe @("config", $Name, "start=", "delayed-auto", "obj=", $Account)
# Should Shawl itself die: again after 10 s, 60 s, 5 min; counted anew each day.
Invoke-Native sc.exe @("failure", $Name, "reset=", "86400", "actions=", "restart/10000/restart/60000/restart/300000")
Invoke-Native icacls.exe @($Home_, "/inheritance:r", "/grant:r", "${Account}:(OI)(CI)M",
    "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F")
Invoke-Native icacls.exe @($Settings, "/inheritance:r", "/grant:r", "${Account}:R", "*S-1-5-18:F", "*S-1-5-32-544:F")
Start-Service -Name $Name
Write-Output "$Name runs; $Program node health $Settings says how it is."
