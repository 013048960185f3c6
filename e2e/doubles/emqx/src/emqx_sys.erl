%% What the broker says of itself: its version and for how long it has run.
%%
%% This is the module that differs between the releases. The macros are set when it is compiled:
%%   VERSION           the release
%%   CODE_CHANGE_FAILS its upgrade out of another release fails, after the point of no return
%%   BAD_LATER         some time after it was installed hot, it raises an alarm
%%   DEAF_LATER        the same, and it opens no new connection any more
-module(emqx_sys).
-vsn(?VERSION).
-behaviour(gen_server).

-ifdef(BAD_LATER).
-define(LATER, erlang:send_after(emqx_double:bad_after(), self(), bad)).
-else.
-ifdef(DEAF_LATER).
-define(LATER, erlang:send_after(emqx_double:bad_after(), self(), deaf)).
-else.
-define(LATER, ok).
-endif.
-endif.

-export([start_link/0, sysdescr/0, brand/0, version/0, uptime/0, datetime/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3]).

start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

sysdescr() ->
    "EMQX".

version() ->
    ?VERSION.

%% How descriptions of plugins begin: the name was written otherwise up to 4.4.15.
brand() ->
    case [list_to_integer(Part) || Part <- string:lexemes(?VERSION, ".")] >= [4, 4, 16] of
        true -> "EMQX";
        false -> "EMQ X"
    end.

%% Since the virtual machine was started: not since it was restarted in place.
uptime() ->
    {Milliseconds, _} = erlang:statistics(wall_clock),
    in_words(Milliseconds div 1000).

datetime() ->
    {{Year, Month, Day}, {Hour, Minute, Second}} = calendar:local_time(),
    lists:flatten(io_lib:format("~4..0w-~2..0w-~2..0w ~2..0w:~2..0w:~2..0w",
                                [Year, Month, Day, Hour, Minute, Second])).

init([]) ->
    {ok, #{since => erlang:monotonic_time(second)}}.

handle_call(since, _From, #{since := Since} = State) ->
    {reply, Since, State}.

handle_cast(_Message, State) ->
    {noreply, State}.

handle_info(bad, State) ->
    emqx_alarm:activate(<<"broker_degraded">>, <<"something has gone wrong since the upgrade">>),
    {noreply, State};
handle_info(deaf, State) ->
    emqx_listener:close(),
    handle_info(bad, State);
handle_info(_Message, State) ->
    {noreply, State}.

-ifdef(CODE_CHANGE_FAILS).
code_change({down, _}, State, _Extra) ->
    {ok, State};
code_change(_Old, State, _Extra) ->
    erlang:error({unknown_state, State}).
-else.
code_change({down, _}, State, _Extra) ->
    {ok, State};
code_change(_Old, State, _Extra) ->
    ?LATER,
    {ok, State}.
-endif.

in_words(Seconds) ->
    {Days, {Hours, Minutes, Rest}} = calendar:seconds_to_daystime(Seconds),
    Parts = [{Days, "days"}, {Hours, "hours"}, {Minutes, "minutes"}, {Rest, "seconds"}],
    Said = [io_lib:format("~w ~s", [Count, Unit])
            || {Count, Unit} <- lists:dropwhile(fun({Count, _}) -> Count =:= 0 end, Parts)],
    lists:flatten(lists:join(", ", Said)).
