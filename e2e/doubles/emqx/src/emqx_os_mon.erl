%% Watches the load of the machine: the alarm `high_cpu_usage` is on from 80 %, looked at every minute, and off below 60 %.
-module(emqx_os_mon).
-behaviour(gen_server).

-export([start_link/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

init([]) ->
    later(),
    {ok, times()}.

later() ->
    erlang:send_after(list_to_integer(emqx_double:setting("cpu_check_ms", "60000")), self(), look).

handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(look, {Busy, All}) ->
    later(),
    {BusyNow, AllNow} = Now = times(),
    Percent = 100 * (BusyNow - Busy) div max(1, AllNow - All),
    _ = if
        Percent > 80 -> emqx_alarm:activate(high_cpu_usage, integer_to_binary(Percent));
        Percent < 60 -> emqx_alarm:deactivate(high_cpu_usage);
        true -> ok
    end,
    {noreply, Now}.

%% Ticks in which the processors were busy, and all ticks.
times() ->
    {ok, Text} = file:read_file("/proc/stat"),
    [<<"cpu ", First/binary>> | _] = binary:split(Text, <<"\n">>),
    [User, Nice, System, Idle, Wait | Rest] = [binary_to_integer(Word)
                                               || Word <- binary:split(First, <<" ">>, [global, trim_all])],
    Busy = User + Nice + System + lists:sum(lists:sublist(Rest, 3)),
    {Busy, Busy + Idle + Wait}.
